//! Gives every name a place and every value a type, or says what is wrong: several errors a run, each where it is.
//!
//! What a variable or map holds is known from all that is put into it, also further down in the script. So the script is
//! gone through again and again until nothing new is learned; only the last time counts, and its errors are shown.

mod argument;
mod builtin;
mod call;
mod cast;
mod constants;
mod definition;
mod expression;
mod front;
mod function;
mod known;
mod layout;
mod lints;
mod map;
mod memory;
mod missing;
mod named;
mod operator;
mod output;
mod probe;
mod series;
mod statement;
mod text;
mod uses;
pub(crate) mod visit;

pub(crate) use cast::narrowed;
pub(crate) use memory::read;

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use synscope_btf::{Btf, BtfError, Found, Kernel, Named};

use crate::ast;
use crate::attach;
use crate::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::functions::{Symbols, Traceable};
use crate::settings::{MissingProbes, Outcome, Settings};
use crate::source::Span;
use crate::typed::{Output, Probe, Script};
use crate::types::Type;

/// What came of checking a script.
#[derive(Debug)]
pub struct Checked {
    /// The script, where there was no error.
    pub script: Option<Script>,
    /// Everything found, by place.
    pub diagnostics: Vec<Diagnostic>,
}

/// What a script is checked against.
#[derive(Debug, Default)]
pub struct Environment {
    /// The values of `$1`, `$2`, …
    pub parameters: Vec<String>,
    /// Settings from outside the script.
    pub settings: Settings,
    /// The process of the command that is traced, `cpid`.
    pub child: Option<u32>,
    kernel: OnceCell<Result<Kernel, BtfError>>,
    task: OnceCell<Option<Found>>,
    knows_task: OnceCell<bool>,
    traceable: OnceCell<io::Result<Traceable>>,
    symbols: OnceCell<io::Result<Symbols>>,
}

impl Environment {
    /// A script's parameters, and settings from outside.
    pub fn new(parameters: Vec<String>, settings: Settings) -> Self {
        Self { parameters, settings, ..Self::default() }
    }

    /// The kernel's types, read when the first script needs them.
    pub fn kernel(&self) -> Result<&Kernel, &BtfError> {
        self.kernel.get_or_init(Kernel::running).as_ref()
    }

    /// The type of a thread as the kernel has it.
    pub(crate) fn task(&self) -> Option<&Found> {
        let find = || self.kernel().ok()?.find(Named::Struct, "task_struct").ok();
        self.task.get_or_init(find).as_ref()
    }

    /// Whether programs can call this helper, by its name without `BPF_FUNC_`.
    pub(crate) fn has_helper(&self, name: &str) -> bool {
        let name = format!("BPF_FUNC_{name}");
        self.kernel().is_ok_and(|kernel| kernel.vmlinux().constants(&name).next().is_some())
    }

    /// Whether a helper tells the running thread in such a way that the verifier knows its type: from Linux 5.11 on.
    pub(crate) fn knows_task(&self) -> bool {
        *self.knows_task.get_or_init(|| self.has_helper("get_current_task_btf"))
    }

    /// Whether programs can step a number and learn what it was: from Linux 5.12 on. What is looked for came with 5.13.
    pub(crate) fn has_fetching_atomics(&self) -> bool {
        self.has_helper("for_each_map_elem")
    }

    /// The functions that can be traced, read when a pattern is first looked for.
    pub(crate) fn traceable(&self) -> Result<&Traceable, &io::Error> {
        self.traceable.get_or_init(Traceable::read).as_ref()
    }

    /// The kernel's symbols, read when an address or a function without a type is first looked for.
    pub(crate) fn symbols(&self) -> Result<&Symbols, &io::Error> {
        self.symbols.get_or_init(Symbols::read).as_ref()
    }
}

/// Rounds until types must have settled: they only grow, and each round settles at least one.
const MAX_ROUNDS: usize = 32;

/// Checks a script.
pub fn check(program: &ast::Program, environment: &Environment) -> Checked {
    let mut checker = Checker::new(environment);
    checker.config(program);
    checker.define(program);
    let expanded = checker.expand(program);
    let fixed = std::mem::take(&mut checker.diagnostics);
    checker.incomplete = fixed.has_errors();
    let mut probes = Vec::new();
    for round in 0..MAX_ROUNDS {
        checker.last = round + 1 == MAX_ROUNDS;
        let before = checker.learned();
        probes = checker.round(&expanded);
        if checker.learned() == before {
            if checker.last {
                break;
            }
            // Nothing new: once more, and this time what is unknown is an error.
            checker.last = true;
            probes = checker.round(&expanded);
            break;
        }
    }
    // Whoever has mistakes to mend wants no advice yet.
    if !checker.diagnostics.has_errors() && !fixed.has_errors() {
        checker.lint(&probes);
    }
    let mut diagnostics = fixed;
    diagnostics.extend(std::mem::take(&mut checker.diagnostics));
    let refused = diagnostics.has_errors();
    let maps = checker.finished_maps();
    let mut script = Script { maps, probes, outputs: checker.outputs, settings: checker.settings };
    if environment.has_fetching_atomics() {
        front::choose(&mut script);
    }
    let mut diagnostics = diagnostics.finish();
    // One place that needs the kernel's types is enough to say that they cannot be read.
    let mut said = false;
    diagnostics.retain(|diagnostic| diagnostic.code != "no-types" || !std::mem::replace(&mut said, true));
    Checked { script: (!refused).then_some(script), diagnostics }
}

/// What all rounds have learned.
type Learned = (Vec<map::Known>, BTreeMap<(usize, usize), Type>);

struct Checker<'e> {
    environment: &'e Environment,
    diagnostics: Diagnostics,
    settings: Settings,
    /// Types that the script defines itself, on top of the kernel's; and constants of its enumerations.
    own: Option<Arc<Btf>>,
    constants: BTreeMap<String, i64>,
    maps: Vec<map::Known>,
    /// The types of variables, by probe and number.
    variables: BTreeMap<(usize, usize), Type>,
    outputs: Vec<Output>,
    /// Where fields in network byte order are read.
    big_endian: BTreeSet<Span>,
    /// Whether probes are missing that could not be found.
    incomplete: bool,
    /// Whether what is unknown now will stay so.
    last: bool,
    probe: probe::Context,
    /// The probe's number, and its variables so far.
    number: usize,
    variable_count: usize,
    /// Those whose addresses it takes.
    addressed: BTreeSet<usize>,
    scopes: Vec<BTreeMap<String, usize>>,
    /// Loops around the statement.
    loops: usize,
}

impl<'e> Checker<'e> {
    fn new(environment: &'e Environment) -> Self {
        Self {
            environment,
            diagnostics: Diagnostics::default(),
            settings: environment.settings.clone(),
            own: None,
            constants: BTreeMap::new(),
            maps: Vec::new(),
            variables: BTreeMap::new(),
            outputs: Vec::new(),
            big_endian: BTreeSet::new(),
            incomplete: false,
            last: false,
            probe: probe::Context::default(),
            number: 0,
            variable_count: 0,
            addressed: BTreeSet::new(),
            scopes: Vec::new(),
            loops: 0,
        }
    }

    fn learned(&self) -> Learned {
        (self.maps.clone(), self.variables.clone())
    }

    /// Goes through all probes.
    fn round(&mut self, expanded: &[probe::Expanded<'_>]) -> Vec<Probe> {
        self.diagnostics = Diagnostics::default();
        self.outputs.clear();
        let mut probes = Vec::new();
        for (number, expanded) in expanded.iter().enumerate() {
            self.number = number;
            self.variable_count = 0;
            self.probe = expanded.context.clone();
            self.scopes = vec![BTreeMap::new()];
            let predicate = expanded.probe.predicate.as_ref().map(|predicate| {
                let predicate = self.expression(predicate);
                self.condition(predicate)
            });
            let body = self.block(&expanded.probe.body);
            let variables = (0..self.variable_count)
                .map(|variable| self.variables.get(&(number, variable)).cloned().unwrap_or(Type::Unknown))
                .collect();
            probes.push(Probe {
                target: expanded.target.clone(),
                name: expanded.context.name.clone(),
                span: expanded.span,
                variables,
                addressed: std::mem::take(&mut self.addressed),
                predicate,
                body,
            });
        }
        probes
    }

    fn error(&mut self, code: &'static str, message: impl Into<String>, span: Span) {
        self.report(Diagnostic::error(code, message, span));
    }

    /// One body may stand for many probes: what was said once is not said again.
    fn report(&mut self, diagnostic: Diagnostic) {
        if !self.diagnostics.contains(&diagnostic) {
            self.diagnostics.push(diagnostic);
        }
    }

    /// What the kernel has no place for: as serious as `missing_probes` says.
    fn absent(&mut self, error: Diagnostic) {
        match self.settings.missing_probes {
            MissingProbes::Error => self.report(error),
            MissingProbes::Warn => self.report(Diagnostic { severity: Severity::Warning, ..error }),
            MissingProbes::Ignore => {}
        }
    }

    /// Who may raise a limit, and how.
    fn limit_of(&self, setting: &str) -> String {
        if self.settings.is_fixed(setting) {
            return format!("`{setting}` says how many, and was set from outside the script");
        }
        let variable = setting.to_ascii_uppercase();
        format!("`{setting}` says how many: `config = {{ {setting} = … }}` in the script, or BPFTRACE_{variable}")
    }

    /// The `config` block.
    fn config(&mut self, program: &ast::Program) {
        for entry in program.config.iter().flat_map(|config| &config.entries) {
            let name = &entry.key.text;
            if self.settings.is_fixed(name) {
                continue;
            }
            match self.settings.set(name, &entry.value) {
                // What is unknown was said when it was read.
                Outcome::Set | Outcome::Unknown => {}
                Outcome::Refused(range) => {
                    self.error("setting-value", format!("`{name}` is {range}"), entry.value_span);
                }
                Outcome::WithoutEffect(why) => {
                    let message = format!("`{name}` changes nothing here");
                    self.report(Diagnostic::warning("setting-without-effect", message, entry.key.span).because(why));
                }
            }
        }
    }

    fn attachment(&mut self, point: &ast::AttachPoint) -> Option<attach::Attachment> {
        match attach::resolve(point, &self.environment.parameters) {
            Ok(attachment) => Some(attachment),
            Err(diagnostic) => {
                self.report(*diagnostic);
                None
            }
        }
    }
}

/// A type of the kernel, whose pointers are read by helpers.
pub(crate) fn type_by_id(btf: &std::sync::Arc<synscope_btf::Btf>, id: synscope_btf::TypeId) -> Type {
    memory::type_of(btf, id, crate::types::Access::Kernel)
}
