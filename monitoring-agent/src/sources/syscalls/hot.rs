//! Gives calls that are made often a place of their own, where the kernel finds them faster.
//!
//! The kernel counts a call in the hash map `CALLS` until it has a place in the array `HOT`. What
//! was counted before stays where it is, so that nothing moves and the sum of both is exact.

use std::collections::BTreeMap;

use anyhow::Context as _;
use aya::maps::{Array, Map, MapData};
use monitoring_common::syscalls::{
    CallKey, Calls, HOT_ROWS, HotRow, INVALID, MAX_HOT, NATIVE_CALLS, hot_column, hot_row,
};

use crate::{loader::Loaded, per_cpu::PerCpuElements};

/// Calls of a pair that earn it a place: rarer ones are not worth one.
const OFTEN: u64 = 1_000;

const NO_PLACES: HotRow = HotRow {
    places: [0; NATIVE_CALLS as usize],
};

/// The places given so far.
pub(super) struct Hot {
    rows: Array<MapData, HotRow>,
    cells: MapData,
    reader: PerCpuElements<Calls>,
    /// What stands in the kernel's `HOT_PLACES`.
    places: Vec<HotRow>,
    /// By place; place 0 means "none" and is never given.
    keys: Vec<CallKey>,
}

impl Hot {
    pub(super) fn new(loaded: &mut Loaded) -> anyhow::Result<Self> {
        let rows = Map::Array(loaded.take_map("HOT_PLACES")?);
        Ok(Self {
            rows: rows.try_into().context("map HOT_PLACES")?,
            cells: loaded.take_map("HOT")?,
            reader: PerCpuElements::new()?,
            places: vec![NO_PLACES; HOT_ROWS],
            keys: Vec::new(),
        })
    }

    /// Adds what was counted at places to what was counted in the hash map.
    pub(super) fn add_to(&mut self, totals: &mut BTreeMap<CallKey, Calls>) -> anyhow::Result<()> {
        for (key, place) in self.keys.iter().zip(1..) {
            let total = totals.entry(*key).or_insert(Calls::EMPTY);
            for calls in self.reader.read(&self.cells, place)? {
                total.merge(calls);
            }
        }
        Ok(())
    }

    /// Gives places to pairs that earned one, as long as there are some.
    pub(super) fn promote(&mut self, totals: &BTreeMap<CallKey, Calls>) -> anyhow::Result<()> {
        for (key, calls) in totals {
            let row = hot_row(*key);
            let Some(places) = self.places.get_mut(usize::try_from(row)?) else {
                continue;
            };
            let place = &mut places.places[hot_column(key.syscall)];
            let next = self.keys.len() + 1;
            let shared = key.syscall == INVALID || key.syscall == NATIVE_CALLS - 1;
            if *place != 0 || shared || calls.count() < OFTEN || next >= MAX_HOT {
                continue;
            }
            *place = u16::try_from(next).context("a place's number")?;
            self.keys.push(*key);
            self.rows
                .set(row, *places, 0)
                .context("give a call its place")?;
        }
        Ok(())
    }

    /// The kernel's array, for its state, and how many places are taken.
    pub(super) fn state(&self) -> (&MapData, u64) {
        (&self.cells, self.keys.len() as u64)
    }
}
