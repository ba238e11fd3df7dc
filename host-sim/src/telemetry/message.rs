//! A snapshot of metrics, and spans that have ended, as the messages of OTLP.

use std::time::SystemTime;

use hypermesh_abi::records::NodeIdentity;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

use super::spans::Ended;
use crate::metrics::Snapshot;
use crate::metrics::definition::Kind;

/// Who sends.
pub(super) struct Origin {
    pub(super) service: String,
    pub(super) node: NodeIdentity,
}

/// Makes the message of a snapshot; counters and histograms began when the exporter did.
pub(super) fn metrics(
    origin: &Origin,
    snapshot: &Snapshot,
    started: SystemTime,
    now: SystemTime,
) -> ExportMetricsServiceRequest {
    let (start, time) = (nanos(started), nanos(now));
    let cumulative = AggregationTemporality::Cumulative as i32;
    let metrics = snapshot.families().map(|family| {
        let attributes = |labels: &[(String, String)]| labels.iter().map(|(name, value)| text(name, value)).collect();
        let numbers = family.numbers().map(|(labels, number)| NumberDataPoint {
            attributes: attributes(labels),
            start_time_unix_nano: if family.kind == Kind::Gauge { 0 } else { start },
            time_unix_nano: time,
            value: Some(number_data_point::Value::AsDouble(number)),
            ..NumberDataPoint::default()
        });
        let data = match family.kind {
            Kind::Gauge => Data::Gauge(Gauge { data_points: numbers.collect() }),
            Kind::Counter => Data::Sum(Sum {
                data_points: numbers.collect(),
                aggregation_temporality: cumulative,
                is_monotonic: true,
            }),
            Kind::Histogram => Data::Histogram(Histogram {
                data_points: family
                    .histograms()
                    .map(|(labels, buckets)| HistogramDataPoint {
                        attributes: attributes(labels),
                        start_time_unix_nano: start,
                        time_unix_nano: time,
                        count: buckets.counts.iter().sum(),
                        sum: Some(buckets.sum_seconds),
                        bucket_counts: buckets.counts,
                        explicit_bounds: buckets.bounds_seconds,
                        ..HistogramDataPoint::default()
                    })
                    .collect(),
                aggregation_temporality: cumulative,
            }),
        };
        let unit = if family.name.ends_with("_seconds") {
            "s"
        } else if family.name.ends_with("_bytes") {
            "By"
        } else {
            ""
        };
        let (name, description) = (family.name.to_owned(), family.help.to_owned());
        Metric { name, description, unit: unit.into(), data: Some(data), ..Metric::default() }
    });
    let scope_metrics =
        vec![ScopeMetrics { scope: Some(scope()), metrics: metrics.collect(), ..ScopeMetrics::default() }];
    let resource = Some(origin.resource());
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics { resource, scope_metrics, ..ResourceMetrics::default() }],
    }
}

/// Makes the message of spans that have ended.
pub(super) fn spans(origin: &Origin, ended: &[Ended]) -> ExportTraceServiceRequest {
    let span = |span: &Ended| Span {
        trace_id: span.trace.to_vec(),
        span_id: span.id.to_vec(),
        parent_span_id: span.parent.map_or_else(Vec::new, |parent| parent.to_vec()),
        name: span.name.into(),
        kind: SpanKind::Internal as i32,
        start_time_unix_nano: nanos(span.began),
        end_time_unix_nano: nanos(span.ended),
        attributes: span.attributes.iter().map(|(name, value)| text(name, value)).collect(),
        status: span.error.as_ref().map(|error| Status { message: error.clone(), code: StatusCode::Error as i32 }),
        ..Span::default()
    };
    let spans = ended.iter().map(span).collect();
    let scope_spans = vec![ScopeSpans { scope: Some(scope()), spans, ..ScopeSpans::default() }];
    let resource = Some(origin.resource());
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }],
    }
}

impl Origin {
    fn resource(&self) -> Resource {
        let attributes = vec![
            text("service.name", &self.service),
            text("service.version", env!("CARGO_PKG_VERSION")),
            text("service.instance.id", &self.node.node_id),
            text("host.arch", std::env::consts::ARCH),
        ];
        Resource { attributes, ..Resource::default() }
    }
}

fn scope() -> InstrumentationScope {
    let (name, version) = ("host-sim".into(), env!("CARGO_PKG_VERSION").into());
    InstrumentationScope { name, version, ..InstrumentationScope::default() }
}

fn text(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

fn nanos(moment: SystemTime) -> u64 {
    let since = moment.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
