//! Family `net`.

use crate::node::{Node, losses};

#[test]
fn attaches() {
    let mut node = Node::start(&["process", "net"]);
    let batch = node.collect("net");
    assert_eq!(losses(&batch), []);
    assert!(batch.programs.iter().all(|program| program.attached));
}
