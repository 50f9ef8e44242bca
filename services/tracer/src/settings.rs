//! What a script's `config` block and the environment set.

use crate::ast::ConfigValue;
use crate::words::{SETTINGS, nearest};

/// Settings of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Keys that a map holds at most.
    pub max_map_keys: u32,
    /// Bytes that `str` reads at most, with the zero at the end.
    pub max_strlen: u32,
    /// Probes that a script may make: each match of a pattern is one.
    pub max_probes: u32,
    /// Programs that a script may make: each probe is one.
    pub max_bpf_progs: u32,
    /// Whether maps are printed when the trace ends.
    pub print_maps_on_exit: bool,
    /// How stacks are written where the script does not say.
    pub stack_mode: StackMode,
    /// What becomes of probes that the kernel has no place for.
    pub missing_probes: MissingProbes,
    /// What was set from outside, which a script cannot change.
    fixed: Vec<String>,
}

/// How a stack's frames are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StackMode {
    /// Name and offset.
    #[default]
    Bpftrace,
    /// Address, name and offset.
    Perf,
    /// The address.
    Raw,
}

impl StackMode {
    /// By its name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "bpftrace" => Some(Self::Bpftrace),
            "perf" => Some(Self::Perf),
            "raw" => Some(Self::Raw),
            _ => None,
        }
    }
}

/// What becomes of a script some of whose probes the kernel has no place for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MissingProbes {
    /// It does not run.
    #[default]
    Error,
    /// It runs without them, and says so.
    Warn,
    /// It runs without them.
    Ignore,
}

impl MissingProbes {
    /// By its name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "error" => Some(Self::Error),
            "warn" => Some(Self::Warn),
            "ignore" => Some(Self::Ignore),
            _ => None,
        }
    }
}

impl Default for Settings {
    /// bpftrace's own.
    fn default() -> Self {
        Self {
            max_map_keys: 4096,
            max_strlen: 1024,
            max_probes: 1024,
            max_bpf_progs: 1024,
            print_maps_on_exit: true,
            stack_mode: StackMode::default(),
            missing_probes: MissingProbes::default(),
            fixed: Vec::new(),
        }
    }
}

/// What the names of settings begin with in the environment.
const PREFIX: &str = "BPFTRACE_";
/// The most that maps may hold, texts take, and scripts attach: beyond it, memory and time run out.
const MAX_KEYS: u32 = 1 << 24;
const MAX_STRLEN: u32 = 1 << 14;
const MAX_PROBES: u32 = 1 << 14;
const STACK_MODES: &str = "`bpftrace`, `perf` or `raw`";
const MISSING_PROBES: &str = "`error`, `warn` or `ignore`";

/// Why a setting changes nothing here, for those that scripts of bpftrace's may bring along.
const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("cache_user_symbols", "user-space symbols are not read"),
    ("cpp_demangle", "user-space symbols are not read"),
    ("lazy_symbolication", "user-space symbols are not read"),
    ("log_size", "the verifier's log is kept whole"),
    ("max_cat_bytes", "`cat` is refused"),
    ("max_type_res_iterations", "types settle by themselves"),
    ("on_stack_limit", "what is longer than 64 bytes never lies on the stack"),
    ("perf_rb_pages", "output goes through one ring buffer of 1 MiB"),
    ("probe_inline", "a probe is at functions, not at copies of them"),
    ("str_trunc_trailer", "texts that are cut end where they are cut"),
    ("symbol_source", "user-space symbols are not read"),
    ("unstable_tseries", "`tseries` is there in any case"),
    ("use_blazesym", "symbols are read from /proc/kallsyms"),
];

/// A setting in the environment that cannot be.
#[derive(Debug, thiserror::Error)]
#[error("`{variable}` is {range}, not `{value}`")]
pub struct SettingError {
    variable: String,
    range: String,
    value: String,
}

/// What came of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Set,
    /// It changes nothing here, and why.
    WithoutEffect(&'static str),
    /// It cannot have this value; what it can have.
    Refused(String),
    /// There is none of this name.
    Unknown,
}

impl Settings {
    /// Sets what has this name, without the prefix.
    pub(crate) fn set(&mut self, name: &str, value: &ConfigValue) -> Outcome {
        if let Some((_, why)) = WITHOUT_EFFECT.iter().find(|(known, _)| *known == name) {
            return Outcome::WithoutEffect(why);
        }
        let number = |place: &mut u32, most: u32| match value {
            ConfigValue::Int(number) if (1..=u64::from(most)).contains(number) => {
                *place = u32::try_from(*number).unwrap_or(most);
                Outcome::Set
            }
            _ => Outcome::Refused(format!("1 to {most}")),
        };
        match (name, value) {
            ("max_map_keys", _) => number(&mut self.max_map_keys, MAX_KEYS),
            ("max_strlen", _) => number(&mut self.max_strlen, MAX_STRLEN),
            ("max_probes", _) => number(&mut self.max_probes, MAX_PROBES),
            ("max_bpf_progs", _) => number(&mut self.max_bpf_progs, MAX_PROBES),
            ("print_maps_on_exit", ConfigValue::Bool(value)) => {
                self.print_maps_on_exit = *value;
                Outcome::Set
            }
            ("print_maps_on_exit", ConfigValue::Int(value @ 0..=1)) => {
                self.print_maps_on_exit = *value == 1;
                Outcome::Set
            }
            ("print_maps_on_exit", _) => Outcome::Refused("true or false".to_owned()),
            ("stack_mode", ConfigValue::Text(mode)) => match StackMode::named(mode) {
                Some(mode) => {
                    self.stack_mode = mode;
                    Outcome::Set
                }
                None => Outcome::Refused(STACK_MODES.to_owned()),
            },
            ("stack_mode", _) => Outcome::Refused(STACK_MODES.to_owned()),
            ("missing_probes", ConfigValue::Text(text)) => match MissingProbes::named(text) {
                Some(missing) => {
                    self.missing_probes = missing;
                    Outcome::Set
                }
                None => Outcome::Refused(MISSING_PROBES.to_owned()),
            },
            ("missing_probes", _) => Outcome::Refused(MISSING_PROBES.to_owned()),
            ("license", ConfigValue::Text(license)) if license == "GPL" => Outcome::Set,
            ("license", _) => Outcome::Refused("always `GPL`, without which no program reads memory".to_owned()),
            _ => Outcome::Unknown,
        }
    }

    /// The same with a bound on the places that probes are at, and on programs, that no script can raise.
    #[must_use]
    pub fn at_most(mut self, places: u32) -> Self {
        (self.max_probes, self.max_bpf_progs) = (places, places);
        self.fixed.extend(["max_probes", "max_bpf_progs"].map(str::to_owned));
        self
    }

    /// Whether it was set from outside: as in bpftrace, that counts more than what a script says.
    pub(crate) fn is_fixed(&self, name: &str) -> bool {
        self.fixed.iter().any(|fixed| fixed == name)
    }

    /// Sets what the environment says; gives remarks on what of it changes nothing, or what is wrong with it.
    pub fn from_environment(
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(Self, Vec<String>), SettingError> {
        let mut settings = Self::default();
        let mut remarks = Vec::new();
        for (variable, text) in variables {
            let Some(name) = variable.strip_prefix(PREFIX).map(str::to_ascii_lowercase) else { continue };
            let value = match text.as_str() {
                "true" | "false" => ConfigValue::Bool(text == "true"),
                _ => text.parse().map_or_else(|_no_number| ConfigValue::Text(text.clone()), ConfigValue::Int),
            };
            match settings.set(&name, &value) {
                Outcome::Set => settings.fixed.push(name),
                Outcome::WithoutEffect(why) => remarks.push(format!("`{variable}` changes nothing: {why}")),
                Outcome::Refused(range) => return Err(SettingError { variable, range, value: text }),
                Outcome::Unknown => remarks.push(match nearest(&name, SETTINGS.iter().copied()) {
                    Some(near) => format!(
                        "`{variable}` changes nothing: there is no such setting; did you mean `{PREFIX}{}`?",
                        near.to_ascii_uppercase()
                    ),
                    None => format!("`{variable}` changes nothing: there is no such setting"),
                }),
            }
        }
        Ok((settings, remarks))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Result<(Settings, Vec<String>), SettingError> {
        Settings::from_environment(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn the_environment_sets_what_it_names() {
        let set = [("BPFTRACE_MAX_MAP_KEYS", "7"), ("BPFTRACE_STACK_MODE", "perf"), ("PATH", "/bin")];
        let (settings, remarks) = environment(&set).unwrap();
        assert_eq!((settings.max_map_keys, settings.stack_mode, remarks), (7, StackMode::Perf, Vec::new()));
        assert!(settings.is_fixed("max_map_keys") && !settings.is_fixed("max_strlen"));
        let (settings, _) = environment(&[("BPFTRACE_PRINT_MAPS_ON_EXIT", "false")]).unwrap();
        assert!(!settings.print_maps_on_exit);
    }

    #[test]
    fn what_the_environment_cannot_set_is_said() {
        let (_, remarks) = environment(&[("BPFTRACE_MAX_MAP_KEY", "7"), ("BPFTRACE_LOG_SIZE", "1")]).unwrap();
        assert!(remarks.first().unwrap().contains("did you mean `BPFTRACE_MAX_MAP_KEYS`"), "{remarks:?}");
        assert!(remarks.last().unwrap().contains("log is kept whole"), "{remarks:?}");
        let refused = environment(&[("BPFTRACE_MAX_STRLEN", "many")]).unwrap_err();
        assert_eq!(refused.to_string(), "`BPFTRACE_MAX_STRLEN` is 1 to 16384, not `many`");
    }

    /// What the language knows either works, or has a reason.
    #[test]
    fn every_known_setting_is_decided() {
        for name in SETTINGS {
            let outcome = Settings::default().set(name, &ConfigValue::Int(1));
            assert_ne!(outcome, Outcome::Unknown, "{name}");
        }
    }
}
