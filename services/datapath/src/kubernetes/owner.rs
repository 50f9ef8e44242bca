//! Who a pod belongs to, as far as the pod itself says: nothing else is watched for it.

use synscope_kubernetes::ObjectMeta;

/// A Deployment names its `ReplicaSets` after the hash that this label of their pods has.
const TEMPLATE_HASH: &str = "pod-template-hash";
/// Longest time between a job's scheduled time and the start of one of its pods, minutes: pods may be made again.
const JOB_AGE_MINUTES: u64 = 31 * 24 * 60;
/// Clocks of two nodes.
const CLOCKS_MINUTES: u64 = 60;

/// The workload that a pod is one of, `<namespace>/<owner>`: the Deployment, not its `ReplicaSet`, and the `CronJob`,
/// not its Job. Without an owner it is the pod itself, and so for the pods that a node's own files ask for.
pub(super) fn workload(metadata: &ObjectMeta) -> String {
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let owners = metadata.owner_references.iter().flatten();
    let owner = owners.filter(|owner| owner.kind != "Node").find(|owner| owner.controller == Some(true));
    let name = match owner {
        Some(owner) => match owner.kind.as_str() {
            "ReplicaSet" => deployment(&owner.name, metadata),
            "Job" => cron_job(&owner.name, metadata),
            _ => owner.name.as_str(),
        },
        None => metadata.name.as_deref().unwrap_or_default(),
    };
    format!("{namespace}/{name}")
}

/// A `ReplicaSet` that no Deployment made has no such label on its pods, and keeps its name.
fn deployment<'a>(replica_set: &'a str, metadata: &ObjectMeta) -> &'a str {
    let hash = metadata.labels.as_ref().and_then(|labels| labels.get(TEMPLATE_HASH));
    let stripped = hash.and_then(|hash| replica_set.strip_suffix(hash.as_str())?.strip_suffix('-'));
    stripped.unwrap_or(replica_set)
}

/// A `CronJob` names its Jobs after their scheduled time in minutes of Unix time. Other numbers at the end, such as a
/// date, are no time at which such a pod was made.
fn cron_job<'a>(job: &'a str, metadata: &ObjectMeta) -> &'a str {
    let stripped = || {
        let (cron_job, minutes) = job.rsplit_once('-')?;
        let scheduled: u64 = minutes.parse().ok()?;
        let made = metadata.creation_timestamp.as_ref()?.0.as_second();
        let made = u64::try_from(made).ok()? / 60;
        let may_be = made.saturating_sub(JOB_AGE_MINUTES)..=made + CLOCKS_MINUTES;
        may_be.contains(&scheduled).then_some(cron_job)
    };
    stripped().unwrap_or(job)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(owner: Option<(&str, &str)>, labels: &str) -> String {
        let owners = owner.map_or_else(String::new, |(kind, name)| {
            format!(
                r#""ownerReferences": [{{"apiVersion": "v1", "kind": "Other", "name": "x", "uid": "1"}},
                   {{"apiVersion": "v1", "kind": "{kind}", "name": "{name}", "uid": "2", "controller": true}}],"#
            )
        });
        let text = format!(
            r#"{{"name": "order-abc12-x7z", "namespace": "shop", {owners} "labels": {labels},
                "creationTimestamp": "2026-11-20T10:00:00Z"}}"#
        );
        workload(&serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn the_name_is_that_of_who_a_person_made() {
        let hash = r#"{"pod-template-hash": "abc12"}"#;
        assert_eq!(named(Some(("ReplicaSet", "order-abc12")), hash), "shop/order");
        assert_eq!(named(Some(("ReplicaSet", "order-abc12")), "{}"), "shop/order-abc12", "nobody's ReplicaSet");
        assert_eq!(named(Some(("ReplicaSet", "abc12")), hash), "shop/abc12");
        for kind in ["StatefulSet", "DaemonSet", "Deployment", "Workflow"] {
            assert_eq!(named(Some((kind, "order")), "{}"), "shop/order", "{kind}");
        }
        assert_eq!(named(None, "{}"), "shop/order-abc12-x7z");
        assert_eq!(named(Some(("Node", "node-a")), "{}"), "shop/order-abc12-x7z", "a file of the node asks for it");
    }

    #[test]
    fn a_job_is_its_cron_jobs_only_where_its_number_is_its_time() {
        // 2026-11-20 10:00 in minutes, and a day and a year before.
        let job = |suffix: &str| named(Some(("Job", &format!("batch-{suffix}"))), "{}");
        assert_eq!(job("29919480"), "shop/batch");
        assert_eq!(job("29918040"), "shop/batch");
        assert_eq!(job("29393880"), "shop/batch-29393880");
        assert_eq!(job("20261120"), "shop/batch-20261120", "a date");
        assert_eq!(job("import"), "shop/batch-import");
    }
}
