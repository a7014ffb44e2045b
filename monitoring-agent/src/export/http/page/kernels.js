// The CUDA kernels that are launched most.

const MOST_KERNELS = 12;

let kernelsTable;

function makeKernels() {
  kernelsTable = new Table(byId("kernels-table"), "Top CUDA kernels", [
    { title: "Kernel", show: (row) => ({ text: row.name, title: row.name }) },
    { title: "Agent", text: true, show: (row) => ({ text: row.agent, title: row.agent }) },
    { title: "GPU", show: (row) => row.gpu, minor: true },
    { title: "Launches", show: (row) => (row.rate === null ? NONE : `${count(row.rate)}/s`) },
    { title: "Share", show: (row) => ({ text: percent(row.share, 1), ratio: row.share }) },
    { title: "In all", show: (row) => count(row.total), minor: true },
  ], { empty: "No CUDA kernel was launched that the agent saw." });
}

function drawKernels({ now, between }) {
  const rates = between.rates("gpu_kernel_launches_total", (sample) => sample.key);
  const rows = now.all("gpu_kernel_launches_total").map(({ key, labels, value }) => ({
    key,
    name: labels.get("kernel_type"),
    agent: labels.get("agent"),
    gpu: labels.get("device_id"),
    total: value,
    rate: rates.get(key) ?? null,
  }));
  // While none is launched, the share is of all launches so far.
  const launched = rows.reduce((sum, row) => sum + (row.rate ?? 0), 0);
  const all = rows.reduce((sum, row) => sum + row.total, 0);
  for (const row of rows) row.share = launched > 0 ? (row.rate ?? 0) / launched : row.total / all;
  rows.sort((a, b) => b.share - a.share || b.total - a.total);
  kernelsTable.update(rows.filter((row) => row.total > 0).slice(0, MOST_KERNELS));
}
