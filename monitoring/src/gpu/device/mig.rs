//! MIG instances of a device.
//!
//! Knows nothing of the device's own readings.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use nvml_wrapper::Nvml;

use super::{
    super::{MigIdentity, MigInstance, calls::Calls},
    Reader, activity, identity, memory,
};

/// NVML's number for a mode that is on.
const ENABLED: u32 = 1;
/// No device can be divided further; a count beyond is no count.
const MOST_INSTANCES: u32 = 64;

/// What is kept of the instances.
#[derive(Debug, Default)]
pub(super) struct Instances {
    mode: Option<u32>,
    /// By what they are. NVML's numbers alone are given again to other instances.
    known: BTreeMap<Key, Known>,
    /// By the number of the GPU instance, which several compute instances may share.
    sampled: BTreeMap<u32, Sampled>,
}

/// Numbers of GPU instance and compute instance, and the UUID.
type Key = (u32, u32, String);

/// What is read once of an instance.
#[derive(Debug)]
struct Known {
    identity: Arc<MigIdentity>,
    multiprocessors: Option<u32>,
    /// No call failed that may succeed the next time.
    complete: bool,
}

/// The samples of a GPU instance, and the UUIDs of the compute instances that it had.
#[derive(Debug, Default)]
struct Sampled {
    samples: activity::Samples,
    uuids: Vec<String>,
}

impl Instances {
    /// Reads all instances; with what they are doing where the device is `sampled`.
    pub(super) fn read(&mut self, reader: &mut Reader<'_>, sampled: bool) -> Vec<MigInstance> {
        let enabled = self.mode == Some(ENABLED);
        if !enabled && self.known.is_empty() {
            return Vec::new();
        }
        let mut instances = Vec::new();
        if enabled {
            let most = reader.get("nvmlDeviceGetMaxMigDeviceCount", |_, device| {
                device.mig_device_count()
            });
            for index in 0..most.unwrap_or(0).min(MOST_INSTANCES) {
                // There may be fewer instances than there can be.
                let call = "nvmlDeviceGetMigDeviceHandleByIndex";
                let found = reader.probe(call, |_, device| device.mig_device_by_index(index));
                if let Some(Ok(instance)) = found {
                    // SAFETY: the handle is used only within this session.
                    let handle = unsafe { instance.handle() };
                    instances.extend(reader.with_instance(handle, |reader| self.read_one(reader)));
                }
            }
            if sampled {
                self.read_activities(reader, &mut instances);
            }
        }
        self.forget_others(reader, &instances);
        instances
    }

    /// Reads the mode. Says whether it has changed, and with it what the device supports.
    pub(super) fn read_mode(&mut self, reader: &mut Reader<'_>) -> bool {
        let mode = reader.get("nvmlDeviceGetMigMode", |_, device| device.mig_mode());
        let mode = mode.map(|mode| mode.current);
        let before = self.mode;
        self.mode = mode.or(before);
        before.is_some() && before != self.mode
    }

    /// Reads the instance whose handle the reader has. What cannot be told from others is left out.
    fn read_one(&mut self, reader: &mut Reader<'_>) -> Option<MigInstance> {
        let key = read_key(reader)?;
        let known = match self.known.entry(key) {
            Entry::Occupied(known) if known.get().complete => known.into_mut(),
            other => {
                let known = Known::read(reader, other.key());
                other.insert_entry(known).into_mut()
            }
        };
        Some(MigInstance {
            identity: Arc::clone(&known.identity),
            memory: memory::read_mig(reader),
            multiprocessors: known.multiprocessors,
            ..MigInstance::default()
        })
    }

    fn read_activities(&mut self, reader: &mut Reader<'_>, instances: &mut [MigInstance]) {
        let mut by_gpu_instance: BTreeMap<u32, Vec<&mut MigInstance>> = BTreeMap::new();
        for instance in instances {
            let id = instance.identity.gpu_instance_id;
            by_gpu_instance.entry(id).or_default().push(instance);
        }
        for (id, instances) in by_gpu_instance {
            let here = |uuid: &String| instances.iter().any(|it| it.identity.uuid == *uuid);
            let kept = self.sampled.entry(id).or_default();
            if !kept.uuids.iter().any(here) {
                // It is another one with the same number, or a new one.
                let others = std::mem::take(&mut kept.samples);
                others.free(reader.nvml(), reader.calls());
            }
            kept.uuids.clear();
            let samples = &mut kept.samples;
            let activity = reader.about_instance(|reader| samples.read(reader, Some(id)));
            for instance in instances {
                kept.uuids.push(instance.identity.uuid.clone());
                instance.activity = activity.clone();
            }
        }
    }

    /// Instances may be made and destroyed at any time.
    fn forget_others(&mut self, reader: &Reader<'_>, instances: &[MigInstance]) {
        let here = |of: &dyn Fn(&MigIdentity) -> bool| instances.iter().any(|it| of(&it.identity));
        self.known.retain(|_, known| {
            let identity = &known.identity;
            here(&|it| it == &**identity)
        });
        let gone: Vec<_> = self.sampled.keys().copied().collect();
        for id in gone
            .into_iter()
            .filter(|id| !here(&|it| it.gpu_instance_id == *id))
        {
            if let Some(sampled) = self.sampled.remove(&id) {
                sampled.samples.free(reader.nvml(), reader.calls());
            }
        }
    }

    /// Gives back what NVML gave.
    pub(super) fn free(self, nvml: &Nvml, calls: &Calls) {
        self.sampled
            .into_values()
            .for_each(|sampled| sampled.samples.free(nvml, calls));
    }
}

/// What tells an instance from others. A handle may be stale already, and then has no answers.
fn read_key(reader: &mut Reader<'_>) -> Option<Key> {
    let uuid = identity::uuid(reader, "nvmlDeviceGetUUID(MIG)");
    let gpu_instance_id = reader.raw("nvmlDeviceGetGpuInstanceId", 0, |lib, handle, id| {
        let call = lib.nvmlDeviceGetGpuInstanceId.as_ref().ok()?;
        // SAFETY: the handle is of this session, and the room is of the call's own type.
        Some(unsafe { call(handle, id) })
    })?;
    let compute_instance_id =
        reader.raw("nvmlDeviceGetComputeInstanceId", 0, |lib, handle, id| {
            let call = lib.nvmlDeviceGetComputeInstanceId.as_ref().ok()?;
            // SAFETY: as above.
            Some(unsafe { call(handle, id) })
        })?;
    (!uuid.is_empty()).then_some((gpu_instance_id, compute_instance_id, uuid))
}

impl Known {
    fn read(reader: &mut Reader<'_>, key: &Key) -> Self {
        let open = reader.open();
        let attributes = reader.get("nvmlDeviceGetAttributes_v2(MIG)", |_, instance| {
            instance.attributes()
        });
        let (gpu_instance_id, compute_instance_id, uuid) = key.clone();
        let identity = MigIdentity {
            uuid,
            name: identity::name(reader, "nvmlDeviceGetName(MIG)"),
            gpu_instance_id,
            compute_instance_id,
        };
        let multiprocessors = attributes.map(|it| it.multiprocessor_count);
        Self {
            identity: Arc::new(identity),
            multiprocessors: multiprocessors.filter(|count| (1..=65_535).contains(count)),
            complete: reader.open() == open,
        }
    }
}
