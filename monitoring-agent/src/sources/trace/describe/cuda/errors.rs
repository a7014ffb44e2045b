//! Names of CUDA's errors. The runtime and the driver number them alike, as far as both have them.

use std::borrow::Cow;

/// Numbers, and what the driver and the runtime call them, without what all names begin with.
const ERRORS: [(u32, &str, &str); 56] = [
    (1, "INVALID_VALUE", "InvalidValue"),
    (2, "OUT_OF_MEMORY", "MemoryAllocation"),
    (3, "NOT_INITIALIZED", "InitializationError"),
    (4, "DEINITIALIZED", "CudartUnloading"),
    (9, "", "InvalidConfiguration"),
    (12, "", "InvalidPitchValue"),
    (13, "", "InvalidSymbol"),
    (21, "", "InvalidMemcpyDirection"),
    (34, "STUB_LIBRARY", "StubLibrary"),
    (35, "", "InsufficientDriver"),
    (46, "DEVICE_UNAVAILABLE", "DevicesUnavailable"),
    (98, "", "InvalidDeviceFunction"),
    (100, "NO_DEVICE", "NoDevice"),
    (101, "INVALID_DEVICE", "InvalidDevice"),
    (200, "INVALID_IMAGE", "InvalidKernelImage"),
    (201, "INVALID_CONTEXT", "DeviceUninitialized"),
    (205, "MAP_FAILED", "MapBufferObjectFailed"),
    (208, "ALREADY_MAPPED", "AlreadyMapped"),
    (209, "NO_BINARY_FOR_GPU", "NoKernelImageForDevice"),
    (211, "NOT_MAPPED", "NotMapped"),
    (214, "ECC_UNCORRECTABLE", "ECCUncorrectable"),
    (216, "CONTEXT_ALREADY_IN_USE", "DeviceAlreadyInUse"),
    (217, "PEER_ACCESS_UNSUPPORTED", "PeerAccessUnsupported"),
    (218, "INVALID_PTX", "InvalidPtx"),
    (220, "NVLINK_UNCORRECTABLE", "NvlinkUncorrectable"),
    (222, "UNSUPPORTED_PTX_VERSION", "UnsupportedPtxVersion"),
    (300, "INVALID_SOURCE", "InvalidSource"),
    (301, "FILE_NOT_FOUND", "FileNotFound"),
    (304, "OPERATING_SYSTEM", "OperatingSystem"),
    (400, "INVALID_HANDLE", "InvalidResourceHandle"),
    (401, "ILLEGAL_STATE", "IllegalState"),
    (500, "NOT_FOUND", "SymbolNotFound"),
    (600, "NOT_READY", "NotReady"),
    (700, "ILLEGAL_ADDRESS", "IllegalAddress"),
    (701, "LAUNCH_OUT_OF_RESOURCES", "LaunchOutOfResources"),
    (702, "LAUNCH_TIMEOUT", "LaunchTimeout"),
    (
        704,
        "PEER_ACCESS_ALREADY_ENABLED",
        "PeerAccessAlreadyEnabled",
    ),
    (705, "PEER_ACCESS_NOT_ENABLED", "PeerAccessNotEnabled"),
    (709, "CONTEXT_IS_DESTROYED", "ContextIsDestroyed"),
    (710, "ASSERT", "Assert"),
    (711, "TOO_MANY_PEERS", "TooManyPeers"),
    (714, "HARDWARE_STACK_ERROR", "HardwareStackError"),
    (715, "ILLEGAL_INSTRUCTION", "IllegalInstruction"),
    (716, "MISALIGNED_ADDRESS", "MisalignedAddress"),
    (717, "INVALID_ADDRESS_SPACE", "InvalidAddressSpace"),
    (718, "INVALID_PC", "InvalidPc"),
    (719, "LAUNCH_FAILED", "LaunchFailure"),
    (
        720,
        "COOPERATIVE_LAUNCH_TOO_LARGE",
        "CooperativeLaunchTooLarge",
    ),
    (800, "NOT_PERMITTED", "NotPermitted"),
    (801, "NOT_SUPPORTED", "NotSupported"),
    (802, "SYSTEM_NOT_READY", "SystemNotReady"),
    (
        900,
        "STREAM_CAPTURE_UNSUPPORTED",
        "StreamCaptureUnsupported",
    ),
    (
        901,
        "STREAM_CAPTURE_INVALIDATED",
        "StreamCaptureInvalidated",
    ),
    (908, "CAPTURED_EVENT", "CapturedEvent"),
    (909, "TIMEOUT", "Timeout"),
    (999, "UNKNOWN", "Unknown"),
];

/// What a library calls its error; the number where it is not known.
pub(super) fn error_name(code: u32, api: &str) -> Cow<'static, str> {
    let known = ERRORS.iter().find(|(number, ..)| *number == code);
    match known {
        Some((_, driver, _)) if api == "driver" && !driver.is_empty() => {
            format!("CUDA_ERROR_{driver}").into()
        }
        Some((_, _, runtime)) if api == "runtime" => format!("cudaError{runtime}").into(),
        _ => code.to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_the_names_of_their_library() {
        let check = |code, api, want| assert_eq!(error_name(code, api), want);
        check(2, "runtime", "cudaErrorMemoryAllocation");
        check(2, "driver", "CUDA_ERROR_OUT_OF_MEMORY");
        check(719, "driver", "CUDA_ERROR_LAUNCH_FAILED");
        check(9, "runtime", "cudaErrorInvalidConfiguration");
        check(9, "driver", "9");
        check(12_345, "runtime", "12345");
        assert!(ERRORS.is_sorted_by_key(|(number, ..)| *number));
    }
}
