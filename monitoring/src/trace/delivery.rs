//! How a collector is spoken to, as far as a program chooses. Knows nothing of what is sent.

/// How OTLP is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// Protobuf in HTTP/1.1: what every collector takes, by default on port 4318.
    HttpProtobuf,
    /// gRPC, by default on port 4317.
    Grpc,
}

/// By default on which port gRPC is spoken.
const GRPC_PORT: u16 = 4317;

impl Protocol {
    #[doc(hidden)] // For the node's agent.
    /// What an endpoint most probably speaks, if nothing is said of it: gRPC on gRPC's port.
    pub fn of_endpoint(url: &str) -> Self {
        let uri = url.parse::<http::Uri>().ok();
        match uri.and_then(|uri| uri.port_u16()) {
            Some(GRPC_PORT) => Self::Grpc,
            _ => Self::HttpProtobuf,
        }
    }

    #[doc(hidden)] // For the node's agent.
    /// Its name, as OpenTelemetry's environment variables have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::HttpProtobuf => "http/protobuf",
            Self::Grpc => "grpc",
        }
    }
}

/// How requests are made smaller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// They are not.
    #[default]
    None,
    /// By gzip, which every collector takes: about a tenth of the bytes, for some CPU time.
    Gzip,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_tells_its_protocol_by_its_port() {
        let check = |url, want| assert_eq!(Protocol::of_endpoint(url), want, "{url}");
        check("http://c:4317", Protocol::Grpc);
        check("http://c:4318", Protocol::HttpProtobuf);
        check("https://c", Protocol::HttpProtobuf);
    }
}
