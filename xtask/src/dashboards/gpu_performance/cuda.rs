//! What programs ask of GPUs, by their calls into CUDA. Knows no JSON.

use crate::dashboards::{board::Row, panel::Panel};

pub(in crate::dashboards) fn launches() -> Row {
    let panels = vec![
        Panel::series(
            "Launches by kernel",
            "ops",
            "The ten kernels that are launched most. Kernels in graphs are not in it.",
        )
        .query(
            "{{kernel_type}}",
            "topk(10, sum by (kernel_type) (rate(gpu_kernel_launches_total[$__rate_interval])))",
        ),
        Panel::heatmap(
            "Work until it was waited for",
            "From the first launch that nobody had waited for to the end of the wait: an upper bound of how long the device worked.",
            "gpu_kernel_execution_seconds_bucket",
        ),
        Panel::series(
            "Launches by agent",
            "ops",
            "Launches of kernels and of graphs.",
        )
        .query(
            "kernels, {{agent}}",
            "sum by (agent) (rate(gpu_kernel_launches_total[$__rate_interval]))",
        )
        .query(
            "graphs, {{agent}}",
            "sum by (agent) (rate(cuda_graph_launches_total[$__rate_interval]))",
        ),
        Panel::series(
            "Waits for the device",
            "short",
            "Threads that wait for the device, mean. Much waiting with little load is a pipeline that stalls.",
        )
        .query(
            "{{agent}}",
            "sum by (agent) (rate(cuda_sync_wait_seconds_total[$__rate_interval]))",
        ),
    ];
    let title = "Kernels";
    Row { title, panels }
}

pub(in crate::dashboards) fn calls() -> Row {
    let panels = vec![
        Panel::series(
            "Calls",
            "ops",
            "The ten calls into CUDA that are made most.",
        )
        .query(
            "{{call}}",
            "topk(10, sum by (call) (rate(cuda_calls_total[$__rate_interval])))",
        ),
        Panel::heatmap(
            "Duration of calls",
            "How many calls a second took how long. Of asynchronous calls that is the time to enqueue.",
            "cuda_call_duration_seconds_bucket",
        ),
        Panel::quantiles(
            "Duration by API",
            "From entry to return: the median, and what one in a hundred exceeds.",
            "cuda_call_duration_seconds_bucket",
            "api, agent",
            ["half, {{api}}, {{agent}}", "99 %, {{api}}, {{agent}}"],
        ),
        Panel::series("Copies", "Bps", "Bytes copied to, from and on devices, and bytes set.")
            .query(
                "{{direction}}, {{agent}}",
                "sum by (direction, agent) (rate(cuda_memcpy_bytes_total[$__rate_interval]))",
            )
            .query(
                "set, {{agent}}",
                "sum by (agent) (rate(cuda_memset_bytes_total[$__rate_interval]))",
            ),
        Panel::series(
            "Failed calls",
            "ops",
            "Calls that returned anything but success. Polls that found the device busy (600) are among them.",
        )
        .query(
            "{{call}}: {{code}}, {{agent}}",
            "sum by (call, code, agent) (rate(cuda_errors_total[$__rate_interval]))",
        ),
        Panel::series(
            "Processes that are seen",
            "none",
            "Processes that use CUDA, by how much of it is counted: `attached` and `static` in full, `stripped` the driver only.",
        )
        .query(
            "{{state}}, {{agent}}",
            "sum by (state, agent) (cuda_probe_coverage)",
        )
        .stacked(),
    ];
    let title = "Calls into CUDA";
    Row { title, panels }
}
