//! `spec.resources` and `spec.execution`.

use std::fmt::Display;
use std::time::Duration;

use crate::package::document::{Cursor, Place};
use crate::package::model::{
    AffinityOperator, AffinityRule, Execution, HardwareRequirement, Resources, RuleType, Scheduling, TimeoutConfig,
};
use crate::package::schema;
use crate::package::units::{parse_bytes, parse_cpu, parse_duration};

use super::Read;

const CPU_HINT: &str = "write cores as `\"1000m\"`, `\"2\"` or `\"0.5\"`";
const BYTES_HINT: &str = "write bytes as `\"512Mi\"` (1024²), `\"1Gi\"` (1024³) or `\"100M\"` (1000²)";
const DURATION_HINT: &str = "write time as `\"500ms\"`, `\"30s\"`, `\"5m\"` or `\"1h\"`";

impl Read<'_> {
    pub(super) fn resources(&mut self, raw: schema::Resources, at: &Cursor<'_>) -> Resources {
        let default = Resources::default();
        let place = |key: &str| at.key(key).place;
        let cpu = self.quantity(raw.cpu_limit.as_deref(), &place("cpu_limit"), CPU_HINT, parse_cpu);
        let memory = self.quantity(raw.memory_limit.as_deref(), &place("memory_limit"), BYTES_HINT, parse_bytes);
        let time = self.duration(raw.execution_timeout.as_deref(), &place("execution_timeout"));
        let storage =
            self.quantity(raw.storage_required.as_deref(), &place("storage_required"), BYTES_HINT, parse_bytes);
        let network =
            self.quantity(raw.network_bandwidth.as_deref(), &place("network_bandwidth"), BYTES_HINT, parse_bytes);
        let gpu_required = raw.gpu_required.unwrap_or(default.gpu_required);
        if !gpu_required && (raw.gpu_memory_mb.is_some() || raw.gpu_type.is_some()) {
            let hint = "set `gpu_required: true`, or remove them";
            self.warning("NO_EFFECT", &place("gpu_memory_mb"), "graphics needs are given, but none is required", hint);
        }
        let hardware = at.key("hardware_requirements");
        let hardware_requirements = raw.hardware_requirements.unwrap_or_default().into_iter().enumerate();
        Resources {
            cpu_limit: cpu.unwrap_or(default.cpu_limit),
            memory_limit: memory.unwrap_or(default.memory_limit),
            execution_timeout: time.unwrap_or(default.execution_timeout),
            storage_required: storage,
            network_bandwidth: network,
            cpu_required: raw.cpu_required.unwrap_or(default.cpu_required),
            cpu_cores: raw.cpu_cores,
            cpu_architecture: self.word(raw.cpu_architecture, &place("cpu_architecture")),
            gpu_required,
            gpu_memory_mb: raw.gpu_memory_mb,
            gpu_type: self.word(raw.gpu_type, &place("gpu_type")),
            memory_mb: raw.memory_mb,
            storage_mb: raw.storage_mb,
            persistent_storage: raw.persistent_storage.unwrap_or(default.persistent_storage),
            hardware_requirements: hardware_requirements
                .filter_map(|(index, raw)| self.hardware(raw, &hardware.index(index)))
                .collect(),
        }
    }

    pub(super) fn execution(&mut self, raw: schema::Execution, timeout: Duration, at: &Cursor<'_>) -> Execution {
        let default = Execution::default();
        let scheduling = raw.scheduling.unwrap_or_default();
        let scheduling_at = at.key("scheduling");
        Execution {
            delegation_strategy: raw.delegation_strategy.unwrap_or(default.delegation_strategy),
            minimum_consensus: raw.minimum_consensus.unwrap_or(default.minimum_consensus),
            retry_policy: raw.retry_policy.unwrap_or(default.retry_policy),
            max_concurrent: raw.max_concurrent,
            fuel: raw.fuel,
            priority: raw.priority.unwrap_or(default.priority),
            timeout_config: self.timeouts(&raw.timeout_config.unwrap_or_default(), timeout, &at.key("timeout_config")),
            scheduling: Scheduling {
                timing: scheduling.timing.unwrap_or(default.scheduling.timing),
                allocation_strategy: scheduling.allocation_strategy.unwrap_or(default.scheduling.allocation_strategy),
                node_affinity: self.affinity(scheduling.node_affinity, &scheduling_at.key("node_affinity")),
                anti_affinity: self.affinity(scheduling.anti_affinity, &scheduling_at.key("anti_affinity")),
            },
        }
    }

    fn timeouts(&mut self, raw: &schema::TimeoutConfig, run: Duration, at: &Cursor<'_>) -> TimeoutConfig {
        let default = TimeoutConfig::default();
        let config = TimeoutConfig {
            execution: self.duration(raw.execution.as_deref(), &at.key("execution").place).unwrap_or(run),
            network: self.duration(raw.network.as_deref(), &at.key("network").place).unwrap_or(default.network),
            io: self.duration(raw.io.as_deref(), &at.key("io").place).unwrap_or(default.io),
            compilation: self
                .duration(raw.compilation.as_deref(), &at.key("compilation").place)
                .unwrap_or(default.compilation),
        };
        if config.execution > run {
            let message = "it is longer than `resources.execution_timeout`, which ends the run first";
            self.warning("NO_EFFECT", &at.key("execution").place, message, "raise the other or shorten this one");
        }
        config
    }

    fn affinity(&mut self, raw: Option<Vec<schema::AffinityRule>>, at: &Cursor<'_>) -> Vec<AffinityRule> {
        let rules = raw.unwrap_or_default().into_iter().enumerate();
        rules.filter_map(|(index, raw)| self.affinity_rule(raw, &at.index(index))).collect()
    }

    fn affinity_rule(&mut self, raw: schema::AffinityRule, at: &Cursor<'_>) -> Option<AffinityRule> {
        let rule = AffinityRule {
            rule_type: raw.rule_type.unwrap_or(RuleType::Required),
            key: raw.key?,
            operator: raw.operator?,
            values: raw.values.unwrap_or_default(),
            weight: raw.weight.unwrap_or(1.0),
        };
        let takes_values = matches!(rule.operator, AffinityOperator::In | AffinityOperator::NotIn);
        if takes_values == rule.values.is_empty() {
            let (message, hint) = match takes_values {
                true => ("this operator compares with values, but none are given", "list `values`"),
                false => ("this operator takes no values", "remove `values`, or use `in` or `not_in`"),
            };
            self.fault("INVALID_RULE", &at.key("values").place, message, hint);
        }
        Some(rule)
    }

    fn hardware(&mut self, raw: schema::HardwareRequirement, at: &Cursor<'_>) -> Option<HardwareRequirement> {
        Some(HardwareRequirement {
            hardware_type: raw.hardware_type?,
            minimum_spec: self.word(raw.minimum_spec, &at.key("minimum_spec").place)?,
            preferred_spec: raw.preferred_spec,
            required_features: raw.required_features.unwrap_or_default(),
        })
    }

    fn duration(&mut self, text: Option<&str>, place: &Place) -> Option<Duration> {
        self.quantity(text, place, DURATION_HINT, parse_duration)
    }

    /// Reads a quantity, which is never zero.
    fn quantity<T: PartialEq + Quantity, E: Display>(
        &mut self,
        text: Option<&str>,
        place: &Place,
        hint: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        let value = self.parsed(text, place, ("INVALID_UNIT", hint), parse)?;
        if value == T::ZERO {
            self.fault("OUT_OF_RANGE", place, "zero would allow nothing at all", "give more, or remove the field");
            return None;
        }
        Some(value)
    }

    fn word(&mut self, text: Option<String>, place: &Place) -> Option<String> {
        if text.as_deref().is_some_and(|text| text.trim().is_empty()) {
            self.fault("EMPTY_TEXT", place, "the text is empty", "give a value, or remove the field");
            return None;
        }
        text
    }
}

trait Quantity {
    const ZERO: Self;
}

impl Quantity for Duration {
    const ZERO: Self = Duration::ZERO;
}

impl Quantity for crate::package::model::Bytes {
    const ZERO: Self = Self(0);
}

impl Quantity for crate::package::model::CpuMillis {
    const ZERO: Self = Self(0);
}
