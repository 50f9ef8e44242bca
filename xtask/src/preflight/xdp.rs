//! Drivers that run XDP programs by themselves, before the kernel has made a packet of what came.

use super::Check;
use super::node::Interface;

/// Driver as sysfs names it (for software devices their kind as `ip` names it), and the first kernel in which it does; 0.0 where that is older than any kernel synscope runs on.
const NATIVE: [(&str, (u32, u32)); 41] = [
    ("am65-cpsw-nuss", (6, 10)),
    ("atlantic", (5, 19)),
    ("bnxt_en", (0, 0)),
    ("bond", (5, 15)),
    ("cpsw", (0, 0)),
    ("cpsw-switch", (0, 0)),
    ("ena", (0, 0)),
    ("fec", (6, 2)),
    ("fsl_dpaa2_eth", (0, 0)),
    ("fsl_dpa", (5, 11)),
    ("fsl_enetc", (5, 13)),
    ("gve", (6, 4)),
    ("hv_netvsc", (0, 0)),
    ("i40e", (0, 0)),
    ("ice", (0, 0)),
    ("igb", (0, 0)),
    ("igc", (5, 13)),
    ("ionic", (6, 9)),
    ("ixgbe", (0, 0)),
    ("ixgbevf", (0, 0)),
    ("lan966x-switch", (6, 2)),
    ("mana", (5, 17)),
    ("mlx4_core", (0, 0)),
    ("mlx5_core", (0, 0)),
    ("mtk_soc_eth", (6, 0)),
    ("mvneta", (0, 0)),
    ("mvpp2", (0, 0)),
    ("nfp", (0, 0)),
    ("nicvf", (0, 0)),
    ("qede", (0, 0)),
    ("rvu_nicpf", (5, 16)),
    ("rvu_nicvf", (5, 16)),
    ("sfc", (0, 0)),
    ("sfc_ef100", (0, 0)),
    ("stmmaceth", (5, 13)),
    ("tsnep", (6, 3)),
    ("tun", (0, 0)),
    ("veth", (0, 0)),
    ("vif", (0, 0)),
    ("virtio_net", (0, 0)),
    ("vmxnet3", (6, 6)),
];

/// What an interface's driver means for us.
pub(super) fn device(interface: &Interface, version: (u32, u32)) -> Check {
    const WITHOUT: &str = "with `xdp = true` its XDP program is run by the kernel, later and slower";
    const ADVICE: &str = "nothing, unless `xdp = true` is set";
    let name = format!("interface {}", interface.name);
    match interface.driver.as_deref() {
        Some("netkit") => Check::lost(
            &name,
            "netkit",
            "its traffic is not observed",
            "use veth, or attach to the node's other interfaces",
        ),
        Some(driver) if is_native(driver, version) => Check::ok(&name, format!("{driver}, native XDP")),
        Some(driver) => Check::lost(&name, format!("{driver}, no native XDP"), WITHOUT, ADVICE),
        None => Check::lost(&name, "driver not observed", WITHOUT, ADVICE),
    }
}

/// Whether a driver does on a kernel of this version.
fn is_native(driver: &str, version: (u32, u32)) -> bool {
    NATIVE.iter().any(|(name, since)| *name == driver && version >= *since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_drivers_are_native_from_their_version_on() {
        assert!(is_native("mlx5_core", (5, 10)));
        assert!(is_native("veth", (5, 10)));
        assert!(!is_native("vmxnet3", (6, 5)));
        assert!(is_native("vmxnet3", (6, 6)));
        assert!(!is_native("e1000e", (7, 3)));
        assert!(!is_native("netkit", (7, 3)));
    }

    #[test]
    fn the_list_has_each_driver_once() {
        let mut names: Vec<_> = NATIVE.iter().map(|(name, _)| name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), NATIVE.len());
    }
}
