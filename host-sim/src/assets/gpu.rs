//! Graphics processors, through the NVIDIA management library (NVML), which is loaded when it is first asked for.
//!
//! A host without the library, the driver or a device runs all the same and says which of them is missing.

use std::ffi::OsStr;

use nvml_wrapper::Nvml;
use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
use nvml_wrapper::error::NvmlError;
use serde::Serialize;

/// The management library, or why there is none.
pub struct Gpus(Result<Nvml, GpuAbsent>);

/// One graphics processor. What the device does not report is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct GpuFigures {
    /// Its number on this node.
    pub index: u32,
    /// Its identity, for `CUDA_VISIBLE_DEVICES`.
    pub uuid: Option<String>,
    /// Its name, such as `NVIDIA H100 80GB HBM3`.
    pub name: Option<String>,
    /// Memory in bytes.
    pub memory_total: Option<u64>,
    /// Memory in use by anyone, in bytes.
    pub memory_used: Option<u64>,
    /// Share of the last moments in which it worked, in percent.
    pub utilisation_percent: Option<u32>,
    /// Degrees Celsius.
    pub temperature_celsius: Option<u32>,
    /// Milliwatts.
    pub power_mw: Option<u32>,
    /// CUDA compute capability, such as 9.0.
    pub compute_capability: Option<(i32, i32)>,
}

/// Why there is no graphics processor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize)]
#[non_exhaustive]
pub enum GpuAbsent {
    /// The management library is not installed.
    #[error("this node has no graphics processor to lease: the NVIDIA management library `{library}` is not installed")]
    NoLibrary {
        /// The library that was looked for.
        library: String,
    },
    /// The library is there and the driver does not answer.
    #[error("this node has no graphics processor to lease: the NVIDIA driver does not answer ({reason})")]
    NoDriver {
        /// What the library said.
        reason: String,
    },
    /// The driver is there and has no device.
    #[error("this node has no graphics processor to lease: the NVIDIA driver lists no device")]
    NoDevice,
}

const LIBRARY: &str = "libnvidia-ml.so.1";

impl Gpus {
    /// Loads the management library by its usual name.
    pub fn open() -> Self {
        Self::open_library(LIBRARY)
    }

    /// Loads the management library from a file or by a name.
    fn open_library(library: &str) -> Self {
        Self(Nvml::builder().lib_path(OsStr::new(library)).init().map_err(|error| match error {
            NvmlError::LibloadingError(_) => GpuAbsent::NoLibrary { library: library.to_owned() },
            error => GpuAbsent::NoDriver { reason: error.to_string() },
        }))
    }

    /// Reads the figures of every device.
    ///
    /// # Errors
    /// What is missing: the library, the driver, or a device.
    pub fn figures(&self) -> Result<Vec<GpuFigures>, GpuAbsent> {
        let nvml = self.0.as_ref().map_err(GpuAbsent::clone)?;
        let count = nvml.device_count().map_err(|error| GpuAbsent::NoDriver { reason: error.to_string() })?;
        match count {
            0 => Err(GpuAbsent::NoDevice),
            _ => Ok((0..count).map(|index| figures(nvml, index)).collect()),
        }
    }
}

impl GpuFigures {
    /// Gives the memory nobody uses, if the device reports it.
    pub fn memory_free(&self) -> Option<u64> {
        Some(self.memory_total?.saturating_sub(self.memory_used?))
    }

    /// Says whether the device is of a type: `CUDA`, which every device here is, or a part of its name.
    pub fn is_of_type(&self, wanted: &str) -> bool {
        let wanted = wanted.to_lowercase();
        wanted == "cuda" || self.name.as_ref().is_some_and(|name| name.to_lowercase().contains(&wanted))
    }
}

fn figures(nvml: &Nvml, index: u32) -> GpuFigures {
    let Ok(device) = nvml.device_by_index(index) else {
        return GpuFigures { index, ..GpuFigures::default() };
    };
    let memory = device.memory_info().ok();
    GpuFigures {
        index,
        uuid: device.uuid().ok(),
        name: device.name().ok(),
        memory_total: memory.as_ref().map(|memory| memory.total),
        memory_used: memory.map(|memory| memory.used),
        utilisation_percent: device.utilization_rates().ok().map(|rates| rates.gpu),
        temperature_celsius: device.temperature(TemperatureSensor::Gpu).ok(),
        power_mw: device.power_usage().ok(),
        compute_capability: device.cuda_compute_capability().ok().map(|version| (version.major, version.minor)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_is_named() {
        let absent = Gpus::open_library("/nowhere/libnvidia-ml.so.1").figures().expect_err("absent");
        assert_eq!(
            absent.to_string(),
            "this node has no graphics processor to lease: the NVIDIA management library \
             `/nowhere/libnvidia-ml.so.1` is not installed"
        );
    }

    #[test]
    fn this_node_has_devices_with_figures_or_says_what_is_missing() {
        match Gpus::open().figures() {
            Ok(devices) => {
                assert!(devices.iter().all(|device| device.uuid.is_some() && device.memory_total > device.memory_used));
            }
            Err(absent) => assert!(absent.to_string().starts_with("this node has no graphics processor to lease: ")),
        }
    }

    #[test]
    fn a_device_is_of_the_type_its_name_says() {
        let device = GpuFigures { name: Some("NVIDIA H100 80GB HBM3".to_owned()), ..GpuFigures::default() };
        assert_eq!(
            ["CUDA", "h100", "A100", "ROCm"].map(|wanted| device.is_of_type(wanted)),
            [true, true, false, false]
        );
    }
}
