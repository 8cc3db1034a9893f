//! Which errors a broker may answer to which call, and what a worker has to do about each. The lists are those of
//! Kafka's protocol and of librdkafka's handlers. `DUPLICATE_SEQUENCE_NUMBER` is left out: it says that a broker has
//! the records already, and the mock cluster, which has thrown them away, would lie.

use rdkafka::types::RDKafkaApiKey as Api;
use rdkafka::types::RDKafkaRespErr::{self, *};

/// What a worker has to do.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Must {
    /// Go on; librdkafka asks again, and nothing comes twice.
    GoOn,
    /// Give the transaction up, go back and go on.
    GoBack,
    /// End with this code, and say this.
    Stop(&'static str, &'static str),
    /// Go back the first time, for it may be a late request of its own; the second time is another worker of this
    /// identity, which is said.
    Twin,
}

use Must::{GoBack, GoOn, Stop, Twin};

/// The cluster does not let this user.
const DENIED: Must = Stop("X012", "allow this user to");

/// Whether a call is made in each epoch, or only when a client is made anew, or when the worker goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    Always,
    Anew,
}

/// A call, when it is made, and what must be done about which errors.
pub(crate) type Call = (Api, When, &'static [(Must, &'static [RDKafkaRespErr])]);

pub(crate) const CALLS: [Call; 8] = [
    (
        Api::FindCoordinator,
        When::Anew,
        &[
            // First: a client that was told anything else may ask once more when it has been given up already.
            (
                DENIED,
                &[
                    RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
                    RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED,
                ],
            ),
            (
                GoBack,
                &[
                    RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
                    RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
                    RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
                    RD_KAFKA_RESP_ERR_INVALID_REQUEST,
                    RD_KAFKA_RESP_ERR_UNKNOWN,
                ],
            ),
            // Last: the source asks for a coordinator, too, when it has lost a connection.
            (GoBack, &[RD_KAFKA_RESP_ERR__TRANSPORT]),
        ],
    ),
    (
        Api::InitProducerId,
        When::Anew,
        &[
            (
                GoBack,
                &[
                    RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
                    RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
                    RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
                    RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS,
                    RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
                    RD_KAFKA_RESP_ERR_UNKNOWN,
                    RD_KAFKA_RESP_ERR__TRANSPORT,
                    // Whoever wants in asks again: the other one says so when it is fenced.
                    RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH,
                    RD_KAFKA_RESP_ERR_PRODUCER_FENCED,
                ],
            ),
            (
                DENIED,
                &[
                    RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
                    RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED,
                ],
            ),
            (Stop("X012", "transaction.max.timeout.ms"), &[RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT]),
        ],
    ),
    (
        Api::AddPartitionsToTxn,
        When::Always,
        &[
            (
                GoOn,
                &[
                    RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
                    RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
                    RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
                    RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS,
                    RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
                    RD_KAFKA_RESP_ERR__TRANSPORT,
                ],
            ),
            (
                GoBack,
                &[
                    RD_KAFKA_RESP_ERR_INVALID_TXN_STATE,
                    RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING,
                    RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID,
                    RD_KAFKA_RESP_ERR_OPERATION_NOT_ATTEMPTED,
                    RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
                    RD_KAFKA_RESP_ERR_UNKNOWN,
                ],
            ),
            (Twin, &[RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, RD_KAFKA_RESP_ERR_PRODUCER_FENCED]),
            (
                DENIED,
                &[
                    RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
                    RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED,
                    RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
                ],
            ),
        ],
    ),
    (
        Api::AddOffsetsToTxn,
        When::Always,
        &[
            (
                GoOn,
                &[
                    RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
                    RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
                    RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
                    RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS,
                    RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
                    RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
                    RD_KAFKA_RESP_ERR__TRANSPORT,
                ],
            ),
            (
                GoBack,
                &[
                    RD_KAFKA_RESP_ERR_INVALID_TXN_STATE,
                    RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING,
                    RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID,
                    RD_KAFKA_RESP_ERR_UNKNOWN,
                ],
            ),
            (Twin, &[RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, RD_KAFKA_RESP_ERR_PRODUCER_FENCED]),
            (
                DENIED,
                &[
                    RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
                    RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED,
                    RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED,
                ],
            ),
        ],
    ),
    (
        Api::TxnOffsetCommit,
        When::Always,
        &[
            (
                GoOn,
                &[
                    RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
                    RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
                    RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
                    RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS,
                    RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
                    RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
                    RD_KAFKA_RESP_ERR__TRANSPORT,
                ],
            ),
            (
                GoBack,
                &[
                    RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION,
                    RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
                    RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID,
                    RD_KAFKA_RESP_ERR_STALE_MEMBER_EPOCH,
                    RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
                    RD_KAFKA_RESP_ERR_INVALID_TXN_STATE,
                    RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING,
                    RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID,
                    RD_KAFKA_RESP_ERR_OFFSET_METADATA_TOO_LARGE,
                    RD_KAFKA_RESP_ERR_UNKNOWN,
                ],
            ),
            (Twin, &[RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, RD_KAFKA_RESP_ERR_PRODUCER_FENCED]),
            (
                DENIED,
                &[
                    RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
                    RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED,
                    RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED,
                    RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
                ],
            ),
        ],
    ),
    (
        Api::EndTxn,
        When::Always,
        &[
            (
                GoOn,
                &[
                    RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
                    RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
                    RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
                    RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS,
                    RD_KAFKA_RESP_ERR__TRANSPORT,
                ],
            ),
            (
                GoBack,
                &[
                    RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
                    RD_KAFKA_RESP_ERR_INVALID_TXN_STATE,
                    RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING,
                    RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID,
                    RD_KAFKA_RESP_ERR_UNKNOWN,
                ],
            ),
            (Twin, &[RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, RD_KAFKA_RESP_ERR_PRODUCER_FENCED]),
            (
                DENIED,
                &[
                    RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
                    RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED,
                ],
            ),
        ],
    ),
    (
        Api::Produce,
        When::Always,
        &[
            (
                GoOn,
                &[
                    RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
                    RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
                    RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
                    RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
                    RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
                    RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND,
                    RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
                    RD_KAFKA_RESP_ERR_INVALID_MSG,
                    RD_KAFKA_RESP_ERR__TRANSPORT,
                ],
            ),
            (
                GoBack,
                &[
                    RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION,
                    RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
                    RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE,
                    RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP,
                    RD_KAFKA_RESP_ERR_INVALID_RECORD,
                    RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
                    RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID,
                    RD_KAFKA_RESP_ERR_INVALID_TXN_STATE,
                    RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING,
                    RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS,
                    RD_KAFKA_RESP_ERR_POLICY_VIOLATION,
                    RD_KAFKA_RESP_ERR_UNKNOWN,
                ],
            ),
            (Twin, &[RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, RD_KAFKA_RESP_ERR_PRODUCER_FENCED]),
            // X012 or K002: whether the client or the report of a record says so first.
            (
                Stop("", "this user"),
                &[
                    RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
                    RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED,
                    RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
                ],
            ),
        ],
    ),
    (
        Api::OffsetFetch,
        When::Anew,
        &[
            (
                GoBack,
                &[
                    RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
                    RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
                    RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
                    RD_KAFKA_RESP_ERR_UNSTABLE_OFFSET_COMMIT,
                    RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
                    RD_KAFKA_RESP_ERR_STALE_MEMBER_EPOCH,
                    RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
                    RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
                    RD_KAFKA_RESP_ERR_UNKNOWN,
                    RD_KAFKA_RESP_ERR__TRANSPORT,
                ],
            ),
            (
                Stop("X012", "the rights of this user"),
                &[RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED],
            ),
        ],
    ),
];
