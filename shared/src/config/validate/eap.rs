//! EAP methods based on TLS: that their lists say something, and that what one key asks for another does not rule out.

use super::super::keys::RawEap;
use super::super::mistake::Notes;
use super::super::model::{AuthMethod, Eap, InnerMethod, TtlsInner};
use super::super::reader::Document;
use super::no_duplicates;

pub(super) fn check(document: &Document, notes: &mut Notes<'_>) {
    let Document { auth, eap, users, .. } = document;
    let (Some(methods), Some(versions), Some(ttls), Some(inner)) =
        (&auth.methods, &eap.tls_versions, &eap.ttls_inner, &eap.inner_methods)
    else {
        return;
    };
    no_duplicates(&versions.value, &versions.place, |version| format!("{version:?}"), notes);
    no_duplicates(&ttls.value, &ttls.place, |inner| format!("{inner:?}"), notes);
    no_duplicates(&inner.value, &inner.place, |method| format!("{method:?}"), notes);
    let has = |method| methods.value.contains(&method);
    if versions.value.is_empty() {
        notes.mistake(&versions.place, "is empty", "name at least one of: 1.2, 1.3");
    }
    if has(AuthMethod::EapTtls) && ttls.value.is_empty() {
        notes.mistake(&ttls.place, "is empty", "name at least one of: pap, mschapv2, eap");
    }
    let wants_inner =
        has(AuthMethod::EapPeap) || (has(AuthMethod::EapTtls) && ttls.value.contains(&TtlsInner::Eap));
    if wants_inner && inner.value.is_empty() {
        notes.mistake(&inner.place, "is empty", "name at least one of: eap-mschapv2, eap-gtc, eap-md5");
    }
    let md5 = has(AuthMethod::EapMd5) || (wants_inner && inner.value.contains(&InnerMethod::Md5));
    let with_password =
        users.iter().any(|user| user.password_clear.as_ref().is_some_and(|at| at.value.is_some()));
    if md5 && !users.is_empty() && !with_password {
        notes.warning(
            &methods.place,
            "allows `eap-md5`, which needs the password itself, and no [[user]] has `password_clear`",
            "add `password_clear` to the users that shall log in with it, or remove `eap-md5`",
        );
    }
}

pub(super) fn eap(raw: RawEap) -> Option<Eap> {
    Some(Eap {
        tls_versions: raw.tls_versions?.value,
        ttls_inner: raw.ttls_inner?.value,
        inner_methods: raw.inner_methods?.value,
        peap_crypto_binding: raw.peap_crypto_binding?.value,
        certificate_user: raw.certificate_user?.value,
        certificate_user_listed: raw.certificate_user_listed?.value,
    })
}
