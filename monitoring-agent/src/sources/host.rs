//! Source `host`: the node, from /proc and /sys.
