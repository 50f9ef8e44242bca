//! What attach points mean once parameters are filled in.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

use synscope_tracer::ast::{AttachPoint, Provider};
use synscope_tracer::attach::{Attachment, Site, resolve};
use synscope_tracer::parse;
use synscope_tracer::source::Source;

fn points(head: &str) -> Vec<AttachPoint> {
    let program = parse(&Source::new("x", format!("{head} {{ }}"))).program.unwrap();
    program.probes.into_iter().flat_map(|probe| probe.attach_points).collect()
}

fn meaning(head: &str, parameters: &[&str]) -> Attachment {
    let parameters: Vec<String> = parameters.iter().map(ToString::to_string).collect();
    resolve(points(head).first().unwrap(), &parameters).unwrap()
}

fn function(module: Option<&str>, function: &str, offset: u64) -> Site {
    Site::Function { module: module.map(str::to_owned), function: function.to_owned(), offset }
}

#[test]
fn kernel_functions() {
    assert_eq!(meaning("kprobe:f", &[]), Attachment { provider: Provider::Kprobe, site: function(None, "f", 0) });
    assert_eq!(meaning("k:m:f+0x10", &[]).site, function(Some("m"), "f", 16));
    assert_eq!(meaning("kprobe:\"f.isra.0\"+8", &[]).site, function(None, "f.isra.0", 8));
    assert_eq!(meaning("kretfunc:f", &[]).provider, Provider::Fexit);
    assert_eq!(meaning("kprobe:tcp_\"v\"$1\"_rcv\"", &["4"]).site, function(None, "tcp_v4_rcv", 0));
    assert_eq!(meaning("kprobe:f/pid/", &[]).site, function(None, "f", 0));
}

#[test]
fn clocks_and_events() {
    assert_eq!(meaning("interval:ms:250", &[]).site, Site::Every(250_000_000));
    assert_eq!(meaning("interval:1s", &[]).site, Site::Every(1_000_000_000));
    assert_eq!(meaning("interval:s:$2", &["x", "3"]).site, Site::Every(3_000_000_000));
    assert_eq!(meaning("profile:hz:99", &[]).site, Site::Rate(99));
    let event = |name: &str, count| Site::Event { name: name.to_owned(), count };
    assert_eq!(meaning("hardware:cache-misses:1e6", &[]).site, event("cache-misses", Some(1_000_000)));
    assert_eq!(meaning("s:faults", &[]).site, event("faults", None));
    assert_eq!(meaning("begin", &[]), Attachment { provider: Provider::Begin, site: Site::Trace });
}

#[test]
fn tracepoints() {
    let tracepoint = |category: &str, event: &str| Site::Tracepoint { category: category.into(), event: event.into() };
    assert_eq!(meaning("t:sched:sched_switch", &[]).site, tracepoint("sched", "sched_switch"));
    assert_eq!(meaning("tracepoint:*rx*", &[]).site, tracepoint("*", "*rx*"));
}

#[test]
fn a_pattern_of_providers_is_one_attach_point_for_each_that_fits() {
    let named = |head: &str| -> Vec<&'static str> {
        points(head).iter().map(|point| resolve(point, &[]).unwrap().provider.name()).collect()
    };
    assert_eq!(named("*ware:cpu-*"), ["software", "hardware"]);
    assert_eq!(named("*:a:b"), ["kprobe", "fentry", "tracepoint", "rawtracepoint"]);
}

#[test]
fn a_missing_parameter_is_an_error() {
    let error = resolve(points("kprobe:$2").first().unwrap(), &["only".to_owned()]).unwrap_err();
    assert_eq!(error.code, "missing-parameter");
    assert!(resolve(points("interval:s:$1").first().unwrap(), &["soon".to_owned()]).is_err());
}
