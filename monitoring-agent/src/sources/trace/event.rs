//! What the kernel tells of one event, as it comes out of the ring. Any bytes are an event or none.

use monitoring_common::trace::{
    DiskDetail, Header, OffCpuDetail, ProcessDetail, Record, SystemCallDetail, TcpDetail,
    cuda::CudaDetail, kind,
};

use crate::ring;

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Event {
    /// What all have in common.
    pub(super) header: Header,
    /// What this kind has.
    pub(super) detail: Detail,
}

/// What an event's kind has.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Detail {
    SystemCall(SystemCallDetail),
    Disk(DiskDetail),
    Connect(TcpDetail),
    Connection(TcpDetail),
    OffCpu(OffCpuDetail),
    Process(ProcessDetail),
    Cuda(CudaDetail),
}

impl Event {
    /// The event of a record, if it is one that the agent knows.
    pub(super) fn decode(record: &[u8]) -> Option<Self> {
        let header: Header = ring::decode(record.get(..size_of::<Header>())?)?;
        match usize::from(header.kind) {
            kind::SYSTEM_CALL => Self::of(record, Detail::SystemCall),
            kind::DISK_REQUEST => Self::of(record, Detail::Disk),
            kind::TCP_CONNECT => Self::of(record, Detail::Connect),
            kind::TCP_CONNECTION => Self::of(record, Detail::Connection),
            kind::OFF_CPU => Self::of(record, Detail::OffCpu),
            kind::PROCESS => Self::of(record, Detail::Process),
            kind::CUDA_WINDOW
            | kind::CUDA_LAUNCH
            | kind::CUDA_COPY
            | kind::CUDA_MEMORY
            | kind::CUDA_CALL => Self::of(record, Detail::Cuda),
            _ => None,
        }
    }

    fn of<D: Copy + 'static>(record: &[u8], detail: fn(D) -> Detail) -> Option<Self>
    where
        Record<D>: aya::Pod,
    {
        let record: Record<D> = ring::decode(record)?;
        let mut header = record.header;
        // Readings of two CPUs' clocks may be in the wrong order by a little.
        header.end_ns = header.end_ns.max(header.start_ns);
        Some(Self {
            header,
            detail: detail(record.detail),
        })
    }

    /// Its kind's number; see [`kind`].
    pub(super) fn kind(&self) -> usize {
        self.header.kind.into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The bytes of a record, as the kernel writes them.
    fn bytes<D: Copy>(header: Header, detail: D) -> Vec<u8> {
        let record = Record { header, detail };
        let bytes: *const u8 = (&raw const record).cast();
        // SAFETY: the record lives, and has nothing between its parts.
        unsafe { std::slice::from_raw_parts(bytes, size_of_val(&record)) }.to_vec()
    }

    fn header(kind: usize) -> Header {
        let zeros = [0; size_of::<Header>()];
        let header = ring::decode(&zeros).unwrap();
        Header {
            start_ns: 7,
            end_ns: 9,
            kind: kind.try_into().unwrap(),
            ..header
        }
    }

    const DETAIL: SystemCallDetail = SystemCallDetail {
        result: -5,
        syscall: 3,
        reserved: 0,
    };

    #[test]
    fn records_are_events_of_their_kind() {
        let header = header(kind::SYSTEM_CALL);
        let event = Event::decode(&bytes(header, DETAIL)).unwrap();
        assert_eq!(event.header, header);
        assert_eq!(event.detail, Detail::SystemCall(DETAIL));
        let swapped = Header {
            start_ns: 9,
            end_ns: 7,
            ..header
        };
        let event = Event::decode(&bytes(swapped, DETAIL)).unwrap();
        assert_eq!(event.header.end_ns, 9);
    }

    #[test]
    fn records_of_another_size_or_kind_are_none() {
        let whole = bytes(header(kind::SYSTEM_CALL), DETAIL);
        for length in 0..whole.len() {
            assert_eq!(Event::decode(&whole[..length]), None, "{length} bytes");
        }
        let longer = [&whole[..], &[0]].concat();
        assert_eq!(Event::decode(&longer), None);
        for other in [kind::DISK_REQUEST, kind::ROOT, 255] {
            assert_eq!(Event::decode(&bytes(header(other), DETAIL)), None);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_event_or_none(record: Vec<u8>, kind: u8) {
            Event::decode(&record);
            let mut long = record;
            long.resize(size_of::<Record<TcpDetail>>(), 0xa5);
            long[std::mem::offset_of!(Header, kind)] = kind;
            Event::decode(&long);
        }
    }
}
