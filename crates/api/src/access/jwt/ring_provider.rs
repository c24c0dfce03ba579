//! Signatures of tokens, checked by ring, which TLS uses too: jsonwebtoken brings other
//! libraries only. Nothing is signed here.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, DecodingKey,
    crypto::{CryptoProvider, JwtVerifier, KeyUtils},
    errors::{Error, ErrorKind},
    jwk::{AlgorithmParameters, Jwk},
};
use ring::signature::{self as checked, UnparsedPublicKey, VerificationAlgorithm};
use signature::Verifier;

/// Checks what issuers sign with, and refuses the rest.
pub(super) static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
    verifier_factory: |algorithm, key| {
        let key = key.try_get_as_bytes()?.to_vec();
        Ok(Box::new(Checker { algorithm: *algorithm, by: by(*algorithm)?, key }))
    },
    key_utils: KeyUtils::new_unimplemented(),
};

fn by(algorithm: Algorithm) -> Result<&'static dyn VerificationAlgorithm, Error> {
    Ok(match algorithm {
        Algorithm::RS256 => &checked::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::RS384 => &checked::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::RS512 => &checked::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::PS256 => &checked::RSA_PSS_2048_8192_SHA256,
        Algorithm::PS384 => &checked::RSA_PSS_2048_8192_SHA384,
        Algorithm::PS512 => &checked::RSA_PSS_2048_8192_SHA512,
        Algorithm::ES256 => &checked::ECDSA_P256_SHA256_FIXED,
        Algorithm::ES384 => &checked::ECDSA_P384_SHA384_FIXED,
        Algorithm::EdDSA => &checked::ED25519,
        _ => return Err(ErrorKind::UnsupportedAlgorithm.into()),
    })
}

struct Checker {
    algorithm: Algorithm,
    by: &'static dyn VerificationAlgorithm,
    /// A curve's point, or an `RSAPublicKey` of PKCS #1 in DER.
    key: Vec<u8>,
}

impl Verifier<Vec<u8>> for Checker {
    fn verify(&self, message: &[u8], signed: &Vec<u8>) -> Result<(), signature::Error> {
        let right = UnparsedPublicKey::new(self.by, &self.key).verify(message, signed);
        right.map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for Checker {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

/// A key as a checker takes it: the parts of an RSA key are handed on in one piece.
pub(super) fn key(jwk: &Jwk) -> Result<DecodingKey, Error> {
    let AlgorithmParameters::RSA(rsa) = &jwk.algorithm else { return DecodingKey::from_jwk(jwk) };
    let part = |text: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| Error::from(ErrorKind::InvalidKeyFormat))?;
        Ok::<_, Error>(element(INTEGER, &positive(bytes)))
    };
    let parts = [part(&rsa.n)?, part(&rsa.e)?].concat();
    Ok(DecodingKey::from_rsa_der(&element(SEQUENCE, &parts)))
}

const INTEGER: u8 = 0x02;
const SEQUENCE: u8 = 0x30;

/// A number as DER has it: without zeros before it, but one where its first bit is set.
fn positive(mut number: Vec<u8>) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.drain(..zeros.min(number.len().saturating_sub(1)));
    if number.first().is_none_or(|first| first & 0x80 != 0) {
        number.insert(0, 0);
    }
    number
}

/// One element of DER: its kind, how long it is, and what is in it.
fn element(kind: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let significant = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    let mut all = vec![kind];
    match significant {
        [] => all.push(0),
        [short] if *short < 0x80 => all.push(*short),
        // The number of bytes that say how long it is: eight at most.
        long => {
            all.push(0x80 | u8::try_from(long.len()).unwrap_or_default());
            all.extend_from_slice(long);
        }
    }
    all.extend_from_slice(content);
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Made with openssl over `header.claims` by a key that is not kept.
    const MODULUS: &str = "yWJW0P9WKqCt2kAo-QVoHg7QFXgr7vTfpXiSw-TYc0pn4f1gW59fA1GQoiJI2sDr5H63kPAApe4h2jyF1UWIKf9nRhj8DCvweCs9RxZcyT1WTkxTy2zwCKDMkx4ILuu2j375v1GEeNvf1cWd9xUhTAP3oAE5jIl5pcjPRz2MXlpjq3X4QI5113JwsMKloFWXLf032VeL2G8QRBYjDgozmLkKG87_ACz97svOtYFzhytLK_jY4XO4MvQ558aw-F92bmrJs8IlicNzdbf1qkhVulfcknOsCdynMHad5LK3FGm2wfwFRYzssEzYx8uxOhpSXSU7a1hzgGVfxDklAqB7HQ";
    const PKCS1: &str = "TRWeCL_29cZjApN7TRDsN3-joa9-3odS5EIKSnt4hZQbZ2FhMuepc5TACYxF0a81y3MuOAaC_lGxL2sxYB0ygU3xopEti3wIYpz47eFukFwmHGvdfqATbiNxqxEUnApGJQBCdU5xGFh60TQxG92vciJzN0Bp8pTRL9V17NpS20E3hilOVci2ep0ze8fKDBw2sHzLSxcJYvbLnFazQeDomez7xOG2wcqMwfDf93VJoCTSUNFBP0nTTEXOIhbaEXU6iItmCQyXmnVyoGZ-dQ-hvndwjr9gjglzXD4FewXVn7MmMy7L_q5fmeP6rOkvEN3cDMpKh3mWupKuFcg4ajt6Ww";
    const PSS: &str = "VKFYHyt33cDGBqn_xDgNBr5ioTAiwxnAewYHhVmAJU-17T7pBwSLf2jkbay2JEFd2FiAfmLTkA8wYELguDps3WGSZO5GO1YbeJHxFknecafEUojhN63qjVyNptVe7OGidG227shitvLHk1Gxm_d5DIk7zFDQ9LgEs718t3giqq3qdj9hHzN8urBVko8jV-_r4bbRW8aeGZrl8rU7RnfXxntto88CEF-LcLby8mNReyO7zJky77KAxIad5Os8JbcYL6kMR3AY4oPwclf9CZorHR62XzAsVQZlIdGtngYzOr_RHQYzDA1Lq1IHehm575UEqrlWYAqV_QhrD9UQHUwjyQ";

    #[test]
    fn an_rsa_key_in_parts_checks_what_it_has_signed() {
        let _ = PROVIDER.install_default();
        let jwk: Jwk = serde_json::from_value(json!({"kty": "RSA", "n": MODULUS, "e": "AQAB"})).unwrap();
        let key = key(&jwk).unwrap();
        let is_right = |signed: &str, message: &str, algorithm| {
            jsonwebtoken::crypto::verify(signed, message.as_bytes(), &key, algorithm).unwrap()
        };
        assert!(is_right(PKCS1, "header.claims", Algorithm::RS256));
        assert!(is_right(PSS, "header.claims", Algorithm::PS256));
        for (signed, message, algorithm) in [
            (PKCS1, "header.claim", Algorithm::RS256),
            (PKCS1, "header.claims", Algorithm::RS384),
            (PKCS1, "header.claims", Algorithm::PS256),
            (&PSS[4..], "header.claims", Algorithm::PS256),
        ] {
            assert!(!is_right(signed, message, algorithm), "{algorithm:?}");
        }
    }

    #[test]
    fn numbers_and_lengths_are_as_der_has_them() {
        assert_eq!(positive(vec![0, 0, 1]), [1]);
        assert_eq!(positive(vec![0x80]), [0, 0x80]);
        assert_eq!(positive(vec![0]), [0]);
        assert_eq!(element(INTEGER, &[7]), [2, 1, 7]);
        assert_eq!(element(SEQUENCE, &[0; 0x80])[..3], [0x30, 0x81, 0x80]);
        assert_eq!(element(SEQUENCE, &[0; 0x100])[..4], [0x30, 0x82, 1, 0]);
    }
}
