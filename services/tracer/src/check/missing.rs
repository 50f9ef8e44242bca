//! Why functions cannot be probed.

use super::Checker;
use super::function::Wanted;
use crate::diagnostic::Diagnostic;
use crate::load::has_kprobes;
use crate::lockdown;
use crate::source::Span;
use crate::untold::{remedy, untold};

/// Functions that compilers put into their callers, and what to look at instead.
const INLINED: &[(&str, &str)] = &[
    ("bpf_prog_run_xdp", "drivers call the program themselves; `netif_receive_generic_xdp` is there for generic XDP"),
    (
        "sch_handle_ingress",
        "it is a part of `__netif_receive_skb_core`; `tcf_classify` is called where there are filters",
    ),
    ("sch_handle_egress", "it is a part of `__dev_queue_xmit`; `tcf_classify` is called where there are filters"),
    ("dev_queue_xmit", "it only calls `__dev_queue_xmit`"),
    ("ip_finish_output2", "it may be a part of `ip_finish_output`; `__dev_queue_xmit` comes next"),
    ("tcp_rcv_space_adjust", "`tcp_recvmsg` calls it"),
];

/// Where functions may be that the kernel's source has and its symbols do not.
const ELSEWHERE: &str =
    "if the kernel's source has it, the compiler put it into its callers, or its module is not loaded";

impl Checker<'_> {
    /// Why there is no such function.
    pub(super) fn missing(&self, wanted: &Wanted<'_>, span: Span) -> Diagnostic {
        let name = wanted.name;
        let error = Diagnostic::error("no-probe", format!("this kernel has no function `{name}`"), span);
        if let Some((_, instead)) = INLINED.iter().find(|(inlined, _)| *inlined == name) {
            return error.because(format!("the compiler put it into its callers: {instead}"));
        }
        let Ok(symbols) = self.environment.symbols() else { return error };
        if let Some(module) = wanted.module
            && let Some((_, elsewhere)) = symbols.called(None, name).next()
        {
            let place = elsewhere.home();
            return error.because(format!("not in `{module}`; there is one in `{place}`"));
        }
        let variants = symbols.variants(name);
        if !variants.is_empty() {
            let list = variants.join("`, `");
            return error.because(format!("the compiler made something else of it, with other arguments: `{list}`"));
        }
        let near = symbols.near(name).map(str::to_owned);
        match near {
            Some(near) => error.because(format!("one is called `{near}`")).because(ELSEWHERE),
            None => error.because(ELSEWHERE),
        }
    }

    /// What is wrong with a probe that can only be a kprobe, where there are none.
    pub(super) fn without_kprobes(&self, wanted: &Wanted<'_>, why: &str, span: Span) -> Option<Diagnostic> {
        let probe = format!("{}:{}", wanted.provider.name(), wanted.name);
        if has_kprobes() {
            let message = format!("`{probe}` cannot be attached: {} kprobes", lockdown::RULE);
            return (lockdown::confidential() == Some(true)).then(|| {
                Diagnostic::error("lockdown", message, span).because(format!("it would have to be one: {why}")).because(
                    "calls within functions are permitted: probes become such where scripts read neither registers \
                        nor stacks",
                )
            });
        }
        let error = Diagnostic::error("no-kprobes", format!("this kernel has no way to attach `{probe}`"), span);
        let error = match self.environment.kernel() {
            Ok(_) => error.because(why),
            Err(untyped) => error.because(format!("{why}: {}", untold(untyped))).because(remedy(untyped)),
        };
        Some(error.because("it has no kprobes either: it was built without `CONFIG_KPROBE_EVENTS`"))
    }
}
