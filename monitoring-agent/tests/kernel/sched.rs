//! Family `sched`.

use crate::node::{Node, losses};

#[test]
fn attaches() {
    let mut node = Node::start(&["process", "sched"]);
    let batch = node.collect("sched");
    assert_eq!(losses(&batch), []);
    assert!(batch.programs.iter().all(|program| program.attached));
}
