"""The message bus on which notifications leave."""

from collections.abc import Mapping

from blick.conf.options.option import Option

_DEFAULT = (
    Option(
        "executor_thread_pool_size",
        "int",
        64,
        "RPC worker threads; no RPC server here",
        old_names=("rpc_thread_pool_size",),
        keep="no",
    ),
    Option("rpc_response_timeout", "int", 60, "RPC reply timeout; no RPC here", keep="no"),
    Option(
        "transport_url",
        "str",
        "rabbit://",
        "Message bus URL used for notifications when the notifications group has none",
        secret=True,
    ),
    Option(
        "control_exchange",
        "str",
        "openstack",
        "AMQP exchange of notifications; the glance service changes the default to glance",
    ),
    Option("rpc_ping_enabled", "bool", False, "RPC ping endpoint; no RPC server here", keep="no"),
    Option("default_publisher_id", "str", "image.localhost", "publisher_id of notifications"),
    Option("disabled_notifications", "list", (), "Event types or prefixes not to send"),
)

_OSLO_MESSAGING_NOTIFICATIONS = (
    Option(
        "driver", "multi-str", (), "Notification drivers: messagingv2, messaging, routing, log, test, noop; repeatable"
    ),
    Option("transport_url", "str", None, "Message bus URL; falls back to [DEFAULT] transport_url", secret=True),
    Option("topics", "list", ("notifications",), "Topics; queue is <topic>.<level>"),
    Option("retry", "int", -1, "Send retries (-1 forever, 0 none)"),
)

_OSLO_MESSAGING_RABBIT = (
    Option("amqp_durable_queues", "bool", False, "Declare durable queues"),
    Option("amqp_auto_delete", "bool", False, "Declare auto-delete queues"),
    Option("rpc_conn_pool_size", "int", 30, "RPC pool size", minimum=1, keep="no"),
    Option("conn_pool_min_size", "int", 2, "Pool shrink floor", keep="no"),
    Option("conn_pool_ttl", "int", 1200, "Idle connection life", keep="no"),
    Option("ssl", "bool", False, "TLS to RabbitMQ"),
    Option("ssl_version", "str", "", "TLS version", keep="later"),
    Option("ssl_key_file", "str", "", "Client key"),
    Option("ssl_cert_file", "str", "", "Client certificate"),
    Option("ssl_ca_file", "str", "", "CA bundle"),
    Option(
        "ssl_enforce_hostname_verification",
        "bool",
        True,
        "Check the broker's host name",
        deprecated="an earlier release",
    ),
    Option("ssl_enforce_fips_mode", "bool", False, "FIPS switch", keep="no", deprecated="an earlier release"),
    Option("kombu_reconnect_delay", "float", 1.0, "Delay before reconnect", minimum=0.0, maximum=4.5, keep="later"),
    Option("kombu_reconnect_splay", "float", 0.0, "Random extra delay", minimum=0.0, keep="later"),
    Option("kombu_compression", "str", None, "Message compression", keep="later"),
    Option(
        "kombu_missing_consumer_retry_timeout", "int", 60, "RPC only", old_names=("kombu_reconnect_timeout",), keep="no"
    ),
    Option(
        "kombu_failover_strategy",
        "str",
        "round-robin",
        "Order of brokers on failover",
        choices=("round-robin", "shuffle"),
        keep="later",
    ),
    Option(
        "rabbit_login_method",
        "str",
        "AMQPLAIN",
        "Login method",
        choices=("PLAIN", "AMQPLAIN", "EXTERNAL", "RABBIT-CR-DEMO"),
        keep="later",
    ),
    Option("rabbit_retry_interval", "int", 1, "First reconnect delay", minimum=1),
    Option("rabbit_retry_backoff", "int", 2, "Reconnect delay growth", minimum=0),
    Option("rabbit_interval_max", "int", 30, "Largest reconnect delay", minimum=1),
    Option("rabbit_ha_queues", "bool", False, "Classic mirrored queues"),
    Option("rabbit_quorum_queue", "bool", False, "Declare quorum queues"),
    Option("rabbit_transient_quorum_queue", "bool", False, "RPC only", keep="no"),
    Option("rabbit_quorum_delivery_limit", "int", 0, "Quorum queue redelivery limit"),
    Option("rabbit_quorum_max_memory_length", "int", 0, "Quorum queue memory length"),
    Option("rabbit_quorum_max_memory_bytes", "int", 0, "Quorum queue memory bytes"),
    Option("rabbit_transient_queues_ttl", "int", 1800, "RPC only", minimum=0, keep="no"),
    Option("rabbit_qos_prefetch_count", "int", 0, "Consumer side", keep="no"),
    Option("heartbeat_timeout_threshold", "int", 60, "Heartbeat timeout, 0 off"),
    Option("heartbeat_rate", "int", 3, "Heartbeat checks per timeout"),
    Option("direct_mandatory_flag", "bool", True, "RPC only", keep="no", deprecated="an earlier release"),
    Option("enable_cancel_on_failover", "bool", False, "Consumer side", keep="no"),
    Option("use_queue_manager", "bool", False, "RPC only", keep="no"),
    Option("hostname", "str", None, "RPC only", keep="no"),
    Option("processname", "str", None, "RPC only", keep="no"),
    Option("rabbit_stream_fanout", "bool", False, "RPC only", keep="no"),
)

_OSLO_MESSAGING_KAFKA = (
    Option("kafka_max_fetch_bytes", "int", 1048576, "Consumer side", keep="no"),
    Option("kafka_consumer_timeout", "float", 1.0, "Consumer side", keep="no"),
    Option("consumer_group", "str", "oslo_messaging_consumer", "Consumer side", keep="no"),
    Option("producer_batch_timeout", "float", 0.0, "Kafka batching delay", keep="later"),
    Option("producer_batch_size", "int", 16384, "Kafka batch size", keep="later"),
    Option(
        "compression_codec",
        "str",
        "none",
        "Kafka compression",
        choices=("none", "gzip", "snappy", "lz4", "zstd"),
        keep="later",
    ),
    Option("enable_auto_commit", "bool", False, "Consumer side", keep="no"),
    Option("max_poll_records", "int", 500, "Consumer side", keep="no"),
    Option(
        "security_protocol",
        "str",
        "PLAINTEXT",
        "Kafka transport security",
        choices=("PLAINTEXT", "SASL_PLAINTEXT", "SSL", "SASL_SSL"),
        keep="later",
    ),
    Option("sasl_mechanism", "str", "PLAIN", "Kafka SASL mechanism", keep="later"),
    Option("ssl_cafile", "str", "", "Kafka CA", keep="later"),
    Option("ssl_client_cert_file", "str", "", "Kafka client certificate", keep="later"),
    Option("ssl_client_key_file", "str", "", "Kafka client key", keep="later"),
    Option("ssl_client_key_password", "str", "", "Kafka client key password", secret=True, keep="later"),
)

OPTIONS: Mapping[str, tuple[Option, ...]] = {
    "DEFAULT": _DEFAULT,
    "oslo_messaging_notifications": _OSLO_MESSAGING_NOTIFICATIONS,
    "oslo_messaging_rabbit": _OSLO_MESSAGING_RABBIT,
    "oslo_messaging_kafka": _OSLO_MESSAGING_KAFKA,
}
