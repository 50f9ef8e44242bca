//! The language's words: probe providers, builtin variables, functions, keywords, settings.
//!
//! The tables follow bpftrace 0.23; what its successor added and synscope has too is marked with 0.24.

use crate::ast::Builtin;

/// Declares an enum whose members have names in the language.
macro_rules! words {
    ($(#[$about:meta])* pub enum $name:ident { $($member:ident = $text:literal,)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[expect(missing_docs, reason = "each member is the word of the same name")]
        pub enum $name { $($member,)* }

        impl $name {
            /// Every member.
            pub const ALL: &'static [$name] = &[$($name::$member,)*];

            /// The word as scripts write it.
            pub fn name(self) -> &'static str {
                match self { $($name::$member => $text,)* }
            }

            /// The member of that name.
            pub fn from_name(name: &str) -> Option<$name> {
                match name { $($text => Some($name::$member),)* _ => None }
            }
        }
    };
}

words! {
    /// What a probe attaches to: the first part of an attach point.
    pub enum Provider {
        Begin = "BEGIN",
        End = "END",
        SelfProbe = "self",
        Kprobe = "kprobe",
        Kretprobe = "kretprobe",
        Fentry = "fentry",
        Fexit = "fexit",
        Tracepoint = "tracepoint",
        RawTracepoint = "rawtracepoint",
        Interval = "interval",
        Profile = "profile",
        Software = "software",
        Hardware = "hardware",
        Uprobe = "uprobe",
        Uretprobe = "uretprobe",
        Usdt = "usdt",
        Watchpoint = "watchpoint",
        AsyncWatchpoint = "asyncwatchpoint",
        Iter = "iter",
    }
}

/// Other names of providers.
const PROVIDER_ALIASES: &[(&str, Provider)] = &[
    ("k", Provider::Kprobe),
    ("kr", Provider::Kretprobe),
    ("f", Provider::Fentry),
    ("kfunc", Provider::Fentry),
    ("fr", Provider::Fexit),
    ("kretfunc", Provider::Fexit),
    ("t", Provider::Tracepoint),
    ("rt", Provider::RawTracepoint),
    ("i", Provider::Interval),
    ("p", Provider::Profile),
    ("s", Provider::Software),
    ("h", Provider::Hardware),
    ("u", Provider::Uprobe),
    ("ur", Provider::Uretprobe),
    ("U", Provider::Usdt),
    ("w", Provider::Watchpoint),
    ("aw", Provider::AsyncWatchpoint),
    ("it", Provider::Iter),
];

impl Provider {
    /// The provider that a script means by `word`: a short name, or a full name in any case (0.24).
    pub fn from_word(word: &str) -> Option<Provider> {
        let alias = PROVIDER_ALIASES.iter().find(|(alias, _)| *alias == word).map(|(_, provider)| *provider);
        alias.or_else(|| Self::ALL.iter().copied().find(|provider| provider.name().eq_ignore_ascii_case(word)))
    }

    /// The providers that a pattern such as `k*probe` stands for: those with kernel probes to list.
    pub fn listed() -> &'static [Provider] {
        &[
            Provider::Kprobe,
            Provider::Fentry,
            Provider::Tracepoint,
            Provider::RawTracepoint,
            Provider::Software,
            Provider::Hardware,
        ]
    }

    /// Whether a part of this provider's attach point may be a path.
    pub fn takes_path(self) -> bool {
        matches!(self, Provider::Uprobe | Provider::Uretprobe | Provider::Usdt | Provider::Iter)
    }
}

words! {
    /// A function of the language.
    pub enum Function {
        Avg = "avg",
        Bswap = "bswap",
        Buf = "buf",
        Cat = "cat",
        CgroupPath = "cgroup_path",
        Cgroupid = "cgroupid",
        Clear = "clear",
        Count = "count",
        Debugf = "debugf",
        Delete = "delete",
        Errorf = "errorf",
        Exit = "exit",
        HasKey = "has_key",
        Hist = "hist",
        Join = "join",
        Kaddr = "kaddr",
        Kptr = "kptr",
        Kstack = "kstack",
        Ksym = "ksym",
        Len = "len",
        Lhist = "lhist",
        Macaddr = "macaddr",
        Max = "max",
        Min = "min",
        Nsecs = "nsecs",
        Ntop = "ntop",
        Override = "override",
        Path = "path",
        PercpuKaddr = "percpu_kaddr",
        Print = "print",
        Printf = "printf",
        Pton = "pton",
        Reg = "reg",
        Signal = "signal",
        Skboutput = "skboutput",
        Stats = "stats",
        Str = "str",
        Strcontains = "strcontains",
        Strerror = "strerror",
        Strftime = "strftime",
        Strncmp = "strncmp",
        Sum = "sum",
        System = "system",
        Time = "time",
        Tseries = "tseries",
        Uaddr = "uaddr",
        Unwatch = "unwatch",
        Uptr = "uptr",
        Ustack = "ustack",
        Usym = "usym",
        Zero = "zero",
    }
}

impl Function {
    /// Why a script may not call the function, for those that change what they watch.
    pub fn refusal(self) -> Option<&'static str> {
        match self {
            Function::Signal => Some("it sends signals to processes, and tracing is read-only"),
            Function::System => Some("it runs commands on the node, and tracing is read-only"),
            Function::Cat => Some("it reads any file of the node, and tracing reads only the kernel"),
            Function::Override => Some("it makes kernel functions fail, and tracing is read-only"),
            Function::Skboutput => Some("it writes packets into a file on the node"),
            _ => None,
        }
    }
}

words! {
    /// A builtin variable without a number in its name.
    pub enum Variable {
        Args = "args",
        Cgroup = "cgroup",
        Comm = "comm",
        Cpid = "cpid",
        Cpu = "cpu",
        Ctx = "ctx",
        Curtask = "curtask",
        Elapsed = "elapsed",
        Func = "func",
        Gid = "gid",
        Jiffies = "jiffies",
        Kstack = "kstack",
        Ncpus = "ncpus",
        Nsecs = "nsecs",
        Numaid = "numaid",
        Pid = "pid",
        Probe = "probe",
        Rand = "rand",
        Retval = "retval",
        Tid = "tid",
        Uid = "uid",
        Username = "username",
        Ustack = "ustack",
    }
}

impl Builtin {
    /// The builtin variable of that name: `pid`, `arg0`, `sarg3`.
    pub fn from_name(name: &str) -> Option<Builtin> {
        if let Some(variable) = Variable::from_name(name) {
            return Some(Builtin::Variable(variable));
        }
        let number = |digits: &str| match digits.as_bytes() {
            [b'0'..=b'9'] | [b'1'..=b'9', b'0'..=b'9'] => digits.parse().ok(),
            _ => None,
        };
        let arg = name.strip_prefix("arg").and_then(number).map(Builtin::Arg);
        arg.or_else(|| name.strip_prefix("sarg").and_then(number).map(Builtin::StackArg))
    }
}

/// Words with a meaning in statements and expressions; they are no identifiers.
pub const KEYWORDS: &[&str] = &[
    "break", "config", "continue", "else", "enum", "fn", "for", "if", "let", "offsetof", "return", "sizeof", "struct",
    "union", "unroll", "while",
];

/// Types that have a name of their own in the language.
pub const TYPES: &[&str] = &[
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "void",
    "string",
    "inet",
    "buffer",
    "min_t",
    "max_t",
    "sum_t",
    "count_t",
    "avg_t",
    "stats_t",
    "umin_t",
    "umax_t",
    "usum_t",
    "ucount_t",
    "uavg_t",
    "ustats_t",
    "hist_t",
    "lhist_t",
    "tseries_t",
    "usym_t",
    "ksym_t",
    "timestamp",
    "macaddr_t",
    "cgroup_path_t",
    "strerror_t",
    "kstack_t",
    "ustack_t",
    "probe_t",
];

/// Words of C's own types; several of them in a row name one type.
pub const C_TYPE_WORDS: &[&str] =
    &["char", "short", "int", "long", "signed", "unsigned", "_Bool", "float", "double", "const", "volatile"];

/// Settings of a `config` block, in the form without the prefix `BPFTRACE_`.
pub const SETTINGS: &[&str] = &[
    "cache_user_symbols",
    "cpp_demangle",
    "lazy_symbolication",
    "license",
    "log_size",
    "max_bpf_progs",
    "max_cat_bytes",
    "max_map_keys",
    "max_probes",
    "max_strlen",
    "max_type_res_iterations",
    "missing_probes",
    "on_stack_limit",
    "perf_rb_pages",
    "print_maps_on_exit",
    "probe_inline",
    "stack_mode",
    "str_trunc_trailer",
    "symbol_source",
    "unstable_tseries",
    "use_blazesym",
];

/// The candidate that a mistyped `word` most likely means: at most a third of its letters differ.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (word.chars().count() / 3).clamp(1, 3);
    let word = word.to_lowercase();
    let wanted = letters(&word);
    let distance = |candidate: &str| strsim::damerau_levenshtein(&word, &candidate.to_lowercase());
    // The kernel has a hundred thousand functions; each step changes two counts at most.
    let may_be = |candidate: &&str| {
        let differences = wanted.iter().zip(letters(candidate)).map(|(a, b)| a.abs_diff(b)).sum::<u32>();
        candidate.len().abs_diff(word.len()) <= allowed && differences <= 2 * u32::try_from(allowed).unwrap_or(0)
    };
    let near = candidates.into_iter().filter(may_be).map(|candidate| (distance(candidate), candidate));
    near.filter(|(distance, _)| *distance <= allowed).min().map(|(_, candidate)| candidate)
}

/// How often each byte is there, whatever its case, in 32 classes.
fn letters(word: &str) -> [u32; 32] {
    let mut counts = [0; 32];
    for byte in word.bytes() {
        if let Some(count) = counts.get_mut(usize::from(byte & 31)) {
            *count += 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_builtins_with_numbers() {
        assert_eq!(Builtin::from_name("arg0"), Some(Builtin::Arg(0)));
        assert_eq!(Builtin::from_name("arg12"), Some(Builtin::Arg(12)));
        assert_eq!(Builtin::from_name("sarg2"), Some(Builtin::StackArg(2)));
        for none in ["arg", "arg01", "arg100", "sarg", "argx", "pids"] {
            assert_eq!(Builtin::from_name(none), None, "{none}");
        }
    }

    #[test]
    fn mistyped_words_find_their_neighbour() {
        let functions = || Function::ALL.iter().map(|function| function.name());
        assert_eq!(nearest("pritnf", functions()), Some("printf"));
        assert_eq!(nearest("cuont", functions()), Some("count"));
        assert_eq!(nearest("something_else", functions()), None);
    }
}
