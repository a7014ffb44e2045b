//! An authority, certificates, and TLS before a server that speaks none. Knows nothing of spans.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    thread,
};

use monitoring::otlp::TlsFiles;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use tempfile::TempDir;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

/// Files in PEM.
pub(crate) struct Certificates {
    folder: TempDir,
}

impl Certificates {
    /// A new authority, and one certificate for a server on this machine and one for a client.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("ca.pem", &ca.pem());
        for name in ["server", "client"] {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
            let certificate = params.signed_by(&key, &ca).unwrap();
            write(&format!("{name}.pem"), &certificate.pem());
            write(&format!("{name}.key"), &key.serialize_pem());
        }
        Self { folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// For a client that knows the authority.
    pub(crate) fn trusting(&self) -> TlsFiles {
        TlsFiles {
            ca: Some(self.file("ca.pem")),
            ..TlsFiles::default()
        }
    }

    /// For a client that knows the authority, and is known to it.
    pub(crate) fn trusted(&self) -> TlsFiles {
        TlsFiles {
            certificate: Some(self.file("client.pem")),
            key: Some(self.file("client.key")),
            ..self.trusting()
        }
    }

    fn acceptor(&self) -> TlsAcceptor {
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(self.file("ca.pem")).unwrap();
        roots.add(ca).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider));
        let certificate = CertificateDer::from_pem_file(self.file("server.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(self.file("server.key")).unwrap();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(vec![certificate], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }

    /// Speaks TLS with clients that the authority knows, and hands on what they say to this port.
    /// Lives as long as this process.
    pub(crate) fn before(&self, port: u16) -> SocketAddr {
        let acceptor = self.acceptor();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime
            .block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            runtime.block_on(async move {
                loop {
                    let (client, _) = listener.accept().await.unwrap();
                    let acceptor = acceptor.clone();
                    tokio::spawn(async move {
                        // A client may not be one that is trusted, and may go as it likes.
                        let Ok(mut client) = acceptor.accept(client).await else {
                            return;
                        };
                        let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
                            .await
                            .unwrap();
                        let _ = copy_bidirectional(&mut client, &mut server).await;
                    });
                }
            });
        });
        address
    }
}
