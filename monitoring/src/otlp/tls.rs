//! Whom a connection trusts, and who this side is, from files in PEM. Knows nothing of HTTP.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject as _},
    },
};

use super::TlsFiles;

/// What is wrong with the files, and what is to be done about it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TlsError(String);

/// How to connect by TLS.
///
/// Without a file of its own, a connection trusts whom the system trusts, so that an operator who
/// has made a new authority known to the machine need not make it known here, too. What the system
/// trusts is in no program: it does not go stale with it.
///
/// # Errors
///
/// When a file cannot be read, or has nothing of what it is for.
pub(super) fn config(files: &TlsFiles) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError(error.to_string()))?
        .with_root_certificates(roots(files.ca.as_deref())?);
    let (Some(certificate), Some(key)) = (&files.certificate, &files.key) else {
        if let Some(file) = files.certificate.as_deref().or(files.key.as_deref()) {
            let file = file.display();
            let fault = format!("{file}: a certificate needs a key, and a key a certificate");
            return Err(TlsError(fault));
        }
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates(certificate)?;
    let secret = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| fault(key, "a private key in PEM", &error))?;
    builder
        .with_client_auth_cert(chain, secret)
        .map_err(|error| {
            let (certificate, key) = (certificate.display(), key.display());
            TlsError(format!("{certificate} and {key} do not fit: {error}"))
        })
}

fn roots(file: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let Some(file) = file else {
        let found = rustls_native_certs::load_native_certs();
        // The system may have some that are too old to be read; any other will do.
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let why = found
                .errors
                .first()
                .map_or_else(String::new, |error| format!(": {error}"));
            return Err(TlsError(format!(
                "the system trusts nobody{why}; install its certificates (the package \
                 ca-certificates, for most), or name a file with those to trust"
            )));
        }
        return Ok(roots);
    };
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|error| {
            TlsError(format!(
                "{}: not one that can be trusted: {error}",
                file.display()
            ))
        })?;
    }
    Ok(roots)
}

/// At least one.
fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wanted = "certificates in PEM";
    let found = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| fault(file, wanted, &error))?;
    if found.is_empty() {
        return Err(fault(file, wanted, &pem::Error::NoItemsFound));
    }
    Ok(found)
}

fn fault(file: &Path, wanted: &str, error: &pem::Error) -> TlsError {
    let file = file.display();
    TlsError(match error {
        pem::Error::Io(error) => format!("{file} cannot be read: {error}"),
        pem::Error::NoItemsFound => format!("{file} has no {wanted}"),
        error => format!("{file}: not {wanted}: {error}"),
    })
}
