//! MIG instances of a device.
//!
//! Knows nothing of the device's own readings.

use std::{collections::BTreeMap, sync::Arc};

use nvml_wrapper::{Device, Nvml};

use super::{
    super::{MigIdentity, MigInstance},
    Reader, activity, identity, memory,
};

/// NVML's number for a mode that is on.
const ENABLED: u32 = 1;
/// No device can be divided further; a count beyond is no count.
const MOST_INSTANCES: u32 = 64;

/// What is kept of the instances.
#[derive(Debug, Default)]
pub(super) struct Instances {
    known: BTreeMap<String, Known>,
    /// By the number of the GPU instance, which several compute instances may share.
    activities: BTreeMap<u32, activity::Samples>,
}

/// What is read once of an instance.
#[derive(Debug)]
struct Known {
    identity: Arc<MigIdentity>,
    multiprocessors: Option<u32>,
}

impl Instances {
    /// Reads all instances; with what they are doing where the device is `sampled`.
    pub(super) fn read(&mut self, reader: &mut Reader<'_>, sampled: bool) -> Vec<MigInstance> {
        let mode = reader.get("nvmlDeviceGetMigMode", |_, device| device.mig_mode());
        let enabled = mode.is_some_and(|mode| mode.current == ENABLED);
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
                instances.extend(found.and_then(|instance| self.read_one(reader, &instance)));
            }
            if sampled {
                self.read_activities(reader, &mut instances);
            }
        }
        let _call = reader.enter("nvmlGpmSampleFree");
        self.forget_others(reader.nvml(), &instances);
        instances
    }

    fn read_one(&mut self, reader: &mut Reader<'_>, instance: &Device<'_>) -> Option<MigInstance> {
        // SAFETY: the handle is used only within this session.
        let handle = unsafe { instance.handle() };
        let uuid = identity::uuid(reader, handle);
        if !self.known.contains_key(&uuid) {
            let known = Known::read(reader, instance, &uuid)?;
            self.known.insert(uuid.clone(), known);
        }
        let known = self.known.get(&uuid)?;
        Some(MigInstance {
            identity: Arc::clone(&known.identity),
            memory: memory::read_mig(reader, instance),
            multiprocessors: known.multiprocessors,
            ..MigInstance::default()
        })
    }

    fn read_activities(&mut self, reader: &mut Reader<'_>, instances: &mut [MigInstance]) {
        let mut read = BTreeMap::new();
        for instance in instances {
            let gpu_instance = instance.identity.gpu_instance_id;
            let activity = read.entry(gpu_instance).or_insert_with(|| {
                let samples = self.activities.entry(gpu_instance).or_default();
                samples.read(reader, Some(gpu_instance))
            });
            instance.activity = activity.clone();
        }
    }

    /// Instances may be made and destroyed at any time.
    fn forget_others(&mut self, nvml: &Nvml, instances: &[MigInstance]) {
        let here = |of: &dyn Fn(&MigIdentity) -> bool| instances.iter().any(|it| of(&it.identity));
        self.known
            .retain(|uuid, _| here(&|identity| identity.uuid == *uuid));
        let gone: Vec<_> = self.activities.keys().copied().collect();
        for id in gone
            .into_iter()
            .filter(|id| !here(&|it| it.gpu_instance_id == *id))
        {
            if let Some(samples) = self.activities.remove(&id) {
                samples.free(nvml);
            }
        }
    }

    /// Gives back what NVML gave.
    pub(super) fn free(self, nvml: &Nvml) {
        self.activities
            .into_values()
            .for_each(|samples| samples.free(nvml));
    }
}

impl Known {
    fn read(reader: &mut Reader<'_>, instance: &Device<'_>, uuid: &str) -> Option<Self> {
        // SAFETY: the handle is used only within this session.
        let handle = unsafe { instance.handle() };
        let gpu_instance_id = reader.raw("nvmlDeviceGetGpuInstanceId", 0, |lib, _, id| {
            let call = lib.nvmlDeviceGetGpuInstanceId.as_ref().ok()?;
            // SAFETY: the handle is of this session, and the room is of the call's own type.
            Some(unsafe { call(handle, id) })
        })?;
        let compute_instance_id =
            reader.raw("nvmlDeviceGetComputeInstanceId", 0, |lib, _, id| {
                let call = lib.nvmlDeviceGetComputeInstanceId.as_ref().ok()?;
                // SAFETY: as above.
                Some(unsafe { call(handle, id) })
            })?;
        let attributes = reader.get("nvmlDeviceGetAttributes_v2(MIG)", |_, _| {
            instance.attributes()
        });
        let identity = MigIdentity {
            uuid: uuid.to_owned(),
            name: identity::name(reader, handle),
            gpu_instance_id,
            compute_instance_id,
        };
        let multiprocessors = attributes.map(|it| it.multiprocessor_count);
        Some(Self {
            identity: Arc::new(identity),
            multiprocessors: multiprocessors.filter(|count| (1..=65_535).contains(count)),
        })
    }
}
