package rivals;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.time.Duration;
import java.util.Properties;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.Serializer;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;

/**
 * The filter job on Kafka Streams: {@code Streams JOB BROKERS IN OUT GROUP GUARANTEE [PROPERTY=VALUE...]}.
 *
 * <p>JOB is {@code filter}, or {@code all}, which passes every record on with its user as the key. It runs until it is
 * told to end.
 */
public final class Streams {
  private static final ObjectMapper JSON = new ObjectMapper();

  private Streams() {}

  public static void main(String[] args) throws IOException {
    String job = args[0];
    String input = args[2];
    String output = args[3];
    Properties properties = new Properties();
    properties.put("bootstrap.servers", args[1]);
    properties.put("application.id", args[4]);
    properties.put("processing.guarantee", args[5]);
    properties.put("auto.offset.reset", "earliest");
    properties.put("num.stream.threads", "1");
    properties.put("state.dir", Files.createTempDirectory("streams-state-").toString());
    for (int i = 6; i < args.length; i++) {
      String[] pair = args[i].split("=", 2);
      properties.put(pair[0], pair[1]);
    }

    Serde<JsonNode> json = Serdes.serdeFrom(serializer(), deserializer());
    StreamsBuilder builder = new StreamsBuilder();
    var records = builder.stream(input, Consumed.with(Serdes.ByteArray(), json));
    if (job.equals("filter")) {
      records
          .filter((key, value) -> isBad(value))
          .map((key, value) -> KeyValue.pair(value.get("user_id").asText(), marked(value)))
          .to(output, Produced.with(Serdes.String(), json));
    } else {
      records
          .map((key, value) -> KeyValue.pair(value.get("user_id").asText(), value))
          .to(output, Produced.with(Serdes.String(), json));
    }
    KafkaStreams streams = new KafkaStreams(builder.build(), properties);
    streams.setUncaughtExceptionHandler(
        error -> {
          error.printStackTrace();
          return StreamThreadExceptionResponse.SHUTDOWN_APPLICATION;
        });
    Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(5))));
    streams.start();
  }

  private static boolean isBad(JsonNode request) {
    return request.get("status").asInt() >= 500 || request.get("latency_ms").asDouble() > 100;
  }

  private static JsonNode marked(JsonNode request) {
    ObjectNode object = (ObjectNode) request;
    object.put("slow", object.get("latency_ms").asDouble() > 250);
    object.remove("ua");
    return object;
  }

  private static Serializer<JsonNode> serializer() {
    return (topic, node) -> {
      try {
        return node == null ? null : JSON.writeValueAsBytes(node);
      } catch (IOException error) {
        throw new UncheckedIOException(error);
      }
    };
  }

  private static Deserializer<JsonNode> deserializer() {
    return (topic, bytes) -> {
      try {
        return bytes == null ? null : JSON.readTree(bytes);
      } catch (IOException error) {
        throw new UncheckedIOException(error);
      }
    };
  }
}
