//! A process from its start to its end: the programs that it has run, and what was mapped.

use std::sync::Arc;

use super::{
    Place,
    table::{Content, Piece, Table},
};

/// Most programs that are known of a process at a time. A chain of scripts that each begin the next
/// has a dozen.
const MAX_IMAGES: usize = 256;

/// A program that a process has run.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) from_ns: u64,
    /// Shared with the process that it was forked from, until either maps something else.
    pub(super) table: Arc<Table>,
}

/// A process, from when its number was given to it until it was given to another.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) from_ns: u64,
    pub(super) ended_ns: Option<u64>,
    pub(super) parent: u32,
    /// The last one is the program that it runs.
    pub(super) images: Vec<Image>,
    /// Whether it was there before anybody told of it, and is still to be read.
    pub(super) is_unread: bool,
    /// Whether it goes on without the thread that gave it its number, as far as is known: then nobody
    /// will tell when it ends.
    pub(super) is_headless: bool,
    /// How many times something had been lost when its mappings were last all known.
    pub(super) losses: u64,
}

impl Life {
    /// One of which everything is known from then on.
    pub(super) fn known(from_ns: u64, image: Image, losses: u64) -> Self {
        Self {
            from_ns,
            ended_ns: None,
            parent: 0,
            images: vec![image],
            is_unread: false,
            is_headless: false,
            losses,
        }
    }

    /// It runs another program. How many earlier ones were forgotten early for want of room.
    pub(super) fn push(&mut self, image: Image) -> u64 {
        self.images.push(image);
        let over = self.images.len().saturating_sub(MAX_IMAGES);
        self.images.drain(..over);
        over as u64
    }

    /// The program that it ran at a time.
    pub(super) fn image_at(&self, time_ns: u64) -> Option<&Image> {
        let mut images = self.images.iter().rev();
        images.find(|image| image.from_ns <= time_ns)
    }

    /// Nobody asks for earlier times any more.
    pub(super) fn forget_before(&mut self, time_ns: u64) {
        let later = self
            .images
            .iter()
            .rposition(|image| image.from_ns <= time_ns);
        self.images.drain(..later.unwrap_or(0));
        for image in &mut self.images {
            // One that is shared is kept once, however many share it.
            if image.table.has_before(time_ns)
                && let Some(table) = Arc::get_mut(&mut image.table)
            {
                table.forget_before(time_ns);
            }
        }
    }
}

/// The place of an address, by what was mapped there.
pub(super) fn place(pid: u32, address: u64, piece: Option<&Piece>) -> Place {
    let Some(piece) = piece else {
        return Place::Unknown { address };
    };
    let offset = piece.offset.wrapping_add(address - piece.start);
    match &piece.content {
        Content::File(file) => Place::File {
            file: file.clone(),
            offset,
            start: piece.start,
            end: piece.end,
            file_offset: piece.offset,
        },
        // The kernel tells no offset of it.
        Content::Vdso => Place::Vdso {
            offset: address - piece.start,
        },
        Content::Anonymous => Place::Jit { pid, address },
        Content::Unknown => Place::Unknown { address },
    }
}
