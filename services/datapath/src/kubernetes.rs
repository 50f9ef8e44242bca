//! This node's pods, watched at the Kubernetes API server: who lives at which address.
//!
//! Only this node's: the API server picks them by `spec.nodeName`. What lives elsewhere its own node's agent tells.

mod owner;
mod pod;
mod pods;

use synscope_bus::life::Life;
use synscope_kubernetes::Config;

use crate::own::Own;
use pods::Pods;

/// Keeps who lives here as the API server says, until dropped. As long as it is away, names stay as they are.
pub async fn follow(life: Life, own: Own, node: String) {
    let config = synscope_kubernetes::configuration(&life).await;
    watch(life, own, node, config).await;
}

/// The same, with the API server known.
pub async fn watch(life: Life, own: Own, node: String, config: Config) {
    let mut pods = Pods::new(own, &node);
    let here = format!("spec.nodeName={node}");
    synscope_kubernetes::watch(&life, config, Some(&here), |event| pods.take(event)).await;
}
