//! Platforms as dependencies name them: `os` or `os-architecture`, such as `linux` or `linux-x86_64`.

/// Operating systems that can be named.
pub const SYSTEMS: [&str; 4] = ["linux", "macos", "windows", "freebsd"];
/// Processor architectures that can be named.
pub const ARCHITECTURES: [&str; 5] = ["x86_64", "aarch64", "riscv64", "powerpc64le", "s390x"];

/// Gives whether a text names a platform.
pub fn is_platform(text: &str) -> bool {
    let (system, architecture) = split(text);
    SYSTEMS.contains(&system) && architecture.is_none_or(|name| ARCHITECTURES.contains(&name))
}

/// Gives the platform this program runs on, as `os-architecture`.
pub fn current() -> String {
    format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH)
}

/// Gives whether something for the platform `wanted` is for `actual`, an `os-architecture`.
pub fn matches(wanted: &str, actual: &str) -> bool {
    let (system, architecture) = split(wanted);
    let (actual_system, actual_architecture) = split(actual);
    system == actual_system && (architecture.is_none() || architecture == actual_architecture)
}

/// Lists what could have been meant, for hints.
pub(crate) fn all() -> Vec<String> {
    let with = |system: &str| ARCHITECTURES.map(|name| format!("{system}-{name}"));
    SYSTEMS.iter().flat_map(|system| std::iter::once((*system).to_owned()).chain(with(system))).collect()
}

fn split(text: &str) -> (&str, Option<&str>) {
    text.split_once('-').map_or((text, None), |(system, architecture)| (system, Some(architecture)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_or_refused_and_match_by_their_parts() {
        assert!(is_platform("linux") && is_platform("macos-aarch64"));
        assert!(!is_platform("linux-") && !is_platform("Linux") && !is_platform("linux-amd64") && !is_platform(""));
        assert!(matches("linux", "linux-x86_64") && matches("linux-x86_64", "linux-x86_64"));
        assert!(!matches("linux-aarch64", "linux-x86_64") && !matches("macos", "linux-x86_64"));
        assert!(is_platform(&current()) && all().iter().all(|name| is_platform(name)));
    }
}
