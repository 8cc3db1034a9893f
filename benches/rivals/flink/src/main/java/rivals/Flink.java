package rivals;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.functions.RichFlatMapFunction;
import org.apache.flink.api.common.serialization.DeserializationSchema;
import org.apache.flink.api.common.typeinfo.PrimitiveArrayTypeInfo;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.producer.ProducerRecord;

/**
 * The filter job on Flink, in one process: {@code Flink BROKERS IN OUT GROUP GUARANTEE}.
 *
 * <p>GUARANTEE is one of Flink's: {@code NONE} is without checkpoints, the others take one each second. It runs until it
 * is told to end.
 */
public final class Flink {
  private Flink() {}

  public static void main(String[] args) throws Exception {
    String brokers = args[0];
    String group = args[3];
    DeliveryGuarantee guarantee = DeliveryGuarantee.valueOf(args[4]);

    Configuration configuration = new Configuration();
    configuration.setString("taskmanager.memory.network.min", "64mb");
    configuration.setString("taskmanager.memory.network.max", "64mb");
    String checkpoints = Files.createTempDirectory("flink-checkpoints-").toUri().toString();
    configuration.setString("execution.checkpointing.dir", checkpoints);
    var environment = StreamExecutionEnvironment.getExecutionEnvironment(configuration);
    environment.setParallelism(1);
    environment.getConfig().enableObjectReuse();
    if (guarantee != DeliveryGuarantee.NONE) {
      environment.enableCheckpointing(1000);
    }

    KafkaSource<byte[]> source =
        KafkaSource.<byte[]>builder()
            .setBootstrapServers(brokers)
            .setTopics(args[1])
            .setGroupId(group)
            .setStartingOffsets(OffsetsInitializer.earliest())
            .setValueOnlyDeserializer(new Bytes())
            .build();
    var sink =
        KafkaSink.<Tuple2<byte[], byte[]>>builder()
            .setBootstrapServers(brokers)
            .setRecordSerializer(new ToRecord(args[2]))
            .setDeliveryGuarantee(guarantee)
            .setProperty("linger.ms", "5")
            .setProperty("transaction.timeout.ms", "60000");
    if (guarantee == DeliveryGuarantee.EXACTLY_ONCE) {
      sink.setTransactionalIdPrefix(group);
    }
    environment
        .fromSource(source, WatermarkStrategy.noWatermarks(), "in")
        .flatMap(new Bad())
        .sinkTo(sink.build());
    environment.execute("filter");
  }

  /** Keeps the bad requests, as key and value. */
  public static final class Bad extends RichFlatMapFunction<byte[], Tuple2<byte[], byte[]>> {
    private transient ObjectMapper json;

    @Override
    public void open(OpenContext context) {
      json = new ObjectMapper();
    }

    @Override
    public void flatMap(byte[] bytes, Collector<Tuple2<byte[], byte[]>> out) throws Exception {
      JsonNode request = json.readTree(bytes);
      double latency = request.get("latency_ms").asDouble();
      if (request.get("status").asInt() >= 500 || latency > 100) {
        ObjectNode object = (ObjectNode) request;
        object.put("slow", latency > 250);
        object.remove("ua");
        byte[] user = object.get("user_id").asText().getBytes(StandardCharsets.UTF_8);
        out.collect(Tuple2.of(user, json.writeValueAsBytes(object)));
      }
    }
  }

  /** Records as the bytes that they are. */
  public static final class Bytes implements DeserializationSchema<byte[]> {
    @Override
    public byte[] deserialize(byte[] bytes) {
      return bytes;
    }

    @Override
    public boolean isEndOfStream(byte[] bytes) {
      return false;
    }

    @Override
    public TypeInformation<byte[]> getProducedType() {
      return PrimitiveArrayTypeInfo.BYTE_PRIMITIVE_ARRAY_TYPE_INFO;
    }
  }

  /** Key and value as a record of a topic. */
  public static final class ToRecord implements KafkaRecordSerializationSchema<Tuple2<byte[], byte[]>> {
    private final String topic;

    public ToRecord(String topic) {
      this.topic = topic;
    }

    @Override
    public ProducerRecord<byte[], byte[]> serialize(Tuple2<byte[], byte[]> pair, KafkaSinkContext context, Long time) {
      return new ProducerRecord<>(topic, pair.f0, pair.f1);
    }
  }
}
