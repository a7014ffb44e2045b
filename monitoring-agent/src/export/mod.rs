//! What leaves the agent. Exporters see snapshots and know no source.
