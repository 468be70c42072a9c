//! One route of the API as it is declared: router, rights, OpenAPI document and the tables of `docs/api.md` are made of
//! these and of nothing else.
//!
//! Enters: method, path, role, types, problems, handler. Leaves: a value that [`super::routes`] lists.
#![allow(dead_code, reason = "users and the configuration, the first resources with versions, use it")]

use axum::handler::Handler;
use axum::http::StatusCode;
use axum::routing::{MethodRouter, delete, get, patch, post, put};
use causeway_shared::api::Role;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::ApiContext;
use super::problem::ProblemKind;

/// Octets of a request body, where the route does not say otherwise.
pub const MAX_BODY_BYTES: usize = 16 * 1024;

/// Methods that routes have.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Method {
    /// Reads.
    Get,
    /// Makes, or orders an action.
    Post,
    /// Replaces.
    Put,
    /// Changes a part.
    Patch,
    /// Ends or resets.
    Delete,
}

impl Method {
    /// As HTTP spells it.
    pub fn name(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Patch => "PATCH",
            Method::Delete => "DELETE",
        }
    }
}

/// Makes the schema of a type.
pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// One way that a request can end well.
#[derive(Clone, Copy)]
pub struct Answer {
    /// Status.
    pub(super) status: StatusCode,
    /// What it means.
    pub(super) means: &'static str,
    /// The body, if there is one.
    pub(super) body: Option<Content>,
}

/// What a body is.
#[derive(Clone, Copy)]
pub(super) enum Content {
    /// JSON of a type.
    Json(SchemaOf),
    /// Text.
    Text,
    /// Octets of this media type.
    File(&'static str),
}

/// One route.
#[derive(Clone)]
pub struct Route {
    pub(super) method: Method,
    pub(super) path: &'static str,
    /// Stable name of the operation.
    pub(super) name: &'static str,
    pub(super) role: Role,
    /// One sentence for people.
    pub(super) summary: &'static str,
    pub(super) query: Option<SchemaOf>,
    pub(super) body: Option<SchemaOf>,
    pub(super) answers: Vec<Answer>,
    pub(super) problems: &'static [ProblemKind],
    /// Whether answers have an `ETag` and `If-None-Match` is heard.
    pub(super) tagged: bool,
    /// Whether `If-Match` must be sent.
    pub(super) wants_match: bool,
    /// Octets of a body.
    pub(super) max_body: usize,
    pub(super) handler: MethodRouter<ApiContext>,
}

impl Route {
    /// A route that reads.
    pub(super) fn get<H, T>(path: &'static str, name: &'static str, handler: H) -> Route
    where
        H: Handler<T, ApiContext>,
        T: 'static,
    {
        Route::new(Method::Get, path, name, get(handler))
    }

    /// A route that makes something, or orders an action.
    pub(super) fn post<H, T>(path: &'static str, name: &'static str, handler: H) -> Route
    where
        H: Handler<T, ApiContext>,
        T: 'static,
    {
        Route::new(Method::Post, path, name, post(handler))
    }

    /// A route that replaces something.
    pub(super) fn put<H, T>(path: &'static str, name: &'static str, handler: H) -> Route
    where
        H: Handler<T, ApiContext>,
        T: 'static,
    {
        Route::new(Method::Put, path, name, put(handler))
    }

    /// A route that changes a part of something.
    pub(super) fn patch<H, T>(path: &'static str, name: &'static str, handler: H) -> Route
    where
        H: Handler<T, ApiContext>,
        T: 'static,
    {
        Route::new(Method::Patch, path, name, patch(handler))
    }

    /// A route that ends or resets something.
    pub(super) fn delete<H, T>(path: &'static str, name: &'static str, handler: H) -> Route
    where
        H: Handler<T, ApiContext>,
        T: 'static,
    {
        Route::new(Method::Delete, path, name, delete(handler))
    }

    fn new(
        method: Method,
        path: &'static str,
        name: &'static str,
        handler: MethodRouter<ApiContext>,
    ) -> Route {
        Route {
            method,
            path,
            name,
            // Who forgets to say who may, has said that almost nobody may.
            role: Role::Admin,
            summary: "",
            query: None,
            body: None,
            answers: Vec::new(),
            problems: &[],
            tagged: false,
            wants_match: false,
            max_body: MAX_BODY_BYTES,
            handler,
        }
    }

    /// The least role that may use it.
    pub(super) fn role(self, role: Role) -> Route {
        Route { role, ..self }
    }

    /// What it does, in a sentence.
    pub(super) fn summary(self, summary: &'static str) -> Route {
        Route { summary, ..self }
    }

    /// The query it takes.
    pub(super) fn query<T: JsonSchema>(self) -> Route {
        Route { query: Some(|generator| generator.root_schema_for::<T>()), ..self }
    }

    /// The body it wants.
    pub(super) fn body<T: JsonSchema>(self) -> Route {
        Route { body: Some(SchemaGenerator::subschema_for::<T>), ..self }
    }

    /// A way to end well, with a body.
    pub(super) fn answer<T: JsonSchema>(self, status: StatusCode, means: &'static str) -> Route {
        self.ends(Answer { status, means, body: Some(Content::Json(SchemaGenerator::subschema_for::<T>)) })
    }

    /// A way to end well, with plain text.
    pub(super) fn text(self, status: StatusCode, means: &'static str) -> Route {
        self.ends(Answer { status, means, body: Some(Content::Text) })
    }

    /// A way to end well, with a file of a media type.
    pub(super) fn file(self, status: StatusCode, media_type: &'static str, means: &'static str) -> Route {
        self.ends(Answer { status, means, body: Some(Content::File(media_type)) })
    }

    /// A way to end well, without a body.
    pub(super) fn no_body(self, status: StatusCode, means: &'static str) -> Route {
        self.ends(Answer { status, means, body: None })
    }

    fn ends(mut self, answer: Answer) -> Route {
        self.answers.push(answer);
        self
    }

    /// Problems of its own, beyond those that every route can have.
    pub(super) fn problems(self, problems: &'static [ProblemKind]) -> Route {
        Route { problems, ..self }
    }

    /// Its answers carry an `ETag`: the handler ends with [`super::precondition::tagged`] or `changed`.
    pub(super) fn tagged(self) -> Route {
        Route { tagged: true, ..self }
    }

    /// It is never reached without `If-Match`; the handler takes [`super::precondition::IfMatch`] and checks it.
    pub(super) fn wants_match(self) -> Route {
        Route { wants_match: true, ..self }
    }

    /// Its bodies may have as many octets, instead of [`MAX_BODY_BYTES`].
    pub(super) fn max_body(self, octets: usize) -> Route {
        Route { max_body: octets, ..self }
    }

    /// Whether `Idempotency-Key` is heard: it is for every POST.
    pub(super) fn hears_key(&self) -> bool {
        self.method == Method::Post
    }

    /// Method, path and the least role that may use it.
    pub(super) fn right(&self) -> (&'static str, &'static str, Role) {
        (self.method.name(), self.path, self.role)
    }

    /// Every problem that it can answer with.
    pub(super) fn all_problems(&self) -> Vec<ProblemKind> {
        let mut all = self.problems.to_vec();
        all.extend(self.query.map(|_| ProblemKind::BadQuery));
        all.extend(self.body.map(|_| ProblemKind::BadBody));
        if self.wants_match {
            all.extend([ProblemKind::Unconditional, ProblemKind::Changed]);
        }
        all.extend(self.hears_key().then_some(ProblemKind::BadKey));
        all.extend(self.path.contains('{').then_some(ProblemKind::NoSuchPath));
        all.extend([ProblemKind::Unauthorized, ProblemKind::Forbidden, ProblemKind::TooMany]);
        all.extend([ProblemKind::Busy, ProblemKind::Timeout]);
        all.sort_unstable();
        all.dedup();
        all
    }

    /// First part of the path behind the version: what it is about.
    pub(super) fn subject(&self) -> &'static str {
        self.path.split('/').find(|part| !["", "v1"].contains(part)).unwrap_or_default()
    }
}
