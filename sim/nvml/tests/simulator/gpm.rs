//! GPM: what the parts of a device were doing between two samples.

use std::time::{Duration, Instant};

use nvml_wrapper::{enums::gpm::GpmMetricId, error::NvmlError, gpm::gpm_metrics_get};

use crate::{Rig, one, refused, until};

#[track_caller]
fn read(rig: &Rig, metric: GpmMetricId) -> Result<f64, NvmlError> {
    let gpu = rig.gpu();
    let first = gpu.gpm_sample().unwrap();
    let last = gpu.gpm_sample().unwrap();
    let mut metrics = gpm_metrics_get(&rig.nvml, &first, &last, &[metric]).unwrap();
    metrics.remove(0).map(|metric| metric.value)
}

#[test]
fn values_are_exact() {
    let rig = Rig::new(&one(
        "h200",
        "gpm_sm = 12.5\ngpm_nvlink_tx_mib = 1e5\ngpm_fp64 = 3",
    ));
    assert_eq!(
        read(&rig, GpmMetricId::SmUtil).unwrap().to_bits(),
        12.5_f64.to_bits()
    );
    let nvlink = read(&rig, GpmMetricId::NvlinkTotalTxPerSec).unwrap();
    assert_eq!(nvlink.to_bits(), 1e5_f64.to_bits());
    assert_eq!(
        read(&rig, GpmMetricId::Fp64Util).unwrap().to_bits(),
        3_f64.to_bits()
    );
}

#[test]
fn metrics_are_refused_one_by_one() {
    let rig = Rig::new(&one("h200", "gpm_dram = \"NOT_SUPPORTED\""));
    refused!(read(&rig, GpmMetricId::DramBwUtil), NotSupported);
    assert!(read(&rig, GpmMetricId::SmOccupancy).is_ok());
}

#[test]
fn changing_values_are_averaged() {
    let wave = "gpm_sm = { from = 20.0, to = 80.0, period_seconds = 0.01 }";
    let rig = Rig::new(&one("h200", wave));
    let gpu = rig.gpu();
    let first = gpu.gpm_sample().unwrap();
    // Over many periods the mean is that of the ends, wherever in a period they lie.
    let since = Instant::now();
    until("many periods are over", || {
        since.elapsed() > Duration::from_millis(500)
    });
    for _ in 0..50 {
        let last = gpu.gpm_sample().unwrap();
        let metrics = gpm_metrics_get(&rig.nvml, &first, &last, &[GpmMetricId::SmUtil]);
        let mean = metrics.unwrap()[0].as_ref().unwrap().value;
        assert!((mean - 50.0).abs() < 0.5, "{mean}");
    }
}

#[test]
fn samples_are_of_one_device_and_in_order() {
    let rig = Rig::new(&format!("{}{}", one("h200", ""), one("h100", "")));
    let second = rig.nvml.device_by_index(1).unwrap();
    let first = rig.gpu().gpm_sample().unwrap();
    let metrics = [GpmMetricId::SmUtil];
    let other = second.gpm_sample().unwrap();
    refused!(
        gpm_metrics_get(&rig.nvml, &first, &other, &metrics),
        InvalidArg
    );
    until("a later one is refused as the first", || {
        let last = rig.gpu().gpm_sample().unwrap();
        assert!(gpm_metrics_get(&rig.nvml, &first, &last, &metrics).is_ok());
        let reversed = gpm_metrics_get(&rig.nvml, &last, &first, &metrics);
        matches!(reversed, Err(NvmlError::InvalidArg))
    });
}

#[test]
fn older_models_have_none() {
    let rig = Rig::new(&one("a100", ""));
    assert!(!rig.gpu().gpm_support().unwrap());
    refused!(rig.gpu().gpm_sample(), NotSupported);
}

#[test]
fn an_instance_has_values_of_its_own() {
    let script = format!(
        "{}[[gpus.mig]]\ngpu_instance_id = 3\nvalues.gpm_sm = 75\n",
        one("h200", "gpm_sm = 10")
    );
    let rig = Rig::new(&script);
    let gpu = rig.gpu();
    let [first, last] = [(); 2].map(|()| gpu.gpm_mig_sample(3).unwrap());
    let metrics = [GpmMetricId::SmUtil, GpmMetricId::NvlinkTotalRxPerSec];
    let values = gpm_metrics_get(&rig.nvml, &first, &last, &metrics).unwrap();
    assert_eq!(
        values[0].as_ref().unwrap().value.to_bits(),
        75_f64.to_bits()
    );
    refused!(&values[1], NotSupported);
    refused!(gpu.gpm_mig_sample(4), InvalidArg);
}
