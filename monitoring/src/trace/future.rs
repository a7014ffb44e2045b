//! Spans of asynchronous work, which goes on now on this thread and now on that one.
//!
//! Knows nothing of runtimes.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use super::{context::SpanContext, span::Span};

/// Puts futures into spans. Every future has these.
pub trait TraceFuture: Future + Sized {
    /// The same future, whose work is that of a span: it is the current one whenever the future
    /// runs. It ends when the future is ready, or when it is dropped before that.
    ///
    /// # Example
    ///
    /// ```
    /// use monitoring::{TraceFuture, Tracer};
    ///
    /// # async fn query_database(_: &Tracer) {}
    /// async fn process_request(tracer: &Tracer) {
    ///     let span = tracer.start_span("database_query").with_tag("db.type", "postgres");
    ///     query_database(tracer).in_span(span).await;
    /// }
    /// ```
    fn in_span(self, span: Span) -> InSpan<Self> {
        InSpan {
            future: self,
            span: Some(span),
        }
    }

    /// The same future, which is part of the work of a context: what it starts without another
    /// parent is a child of that. It is how a task goes on with the trace of whoever spawns it.
    ///
    /// # Example
    ///
    /// ```
    /// use monitoring::{SpanContext, TraceFuture};
    ///
    /// # fn spawn(_: impl Future) {}
    /// # async fn work() {}
    /// if let Some(context) = SpanContext::current() {
    ///     spawn(work().in_context(context));
    /// }
    /// ```
    fn in_context(self, context: SpanContext) -> InContext<Self> {
        InContext {
            future: self,
            context,
        }
    }
}

impl<F: Future> TraceFuture for F {}

pin_project! {
    /// A future in a span: see [`TraceFuture::in_span`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless they are polled"]
    pub struct InSpan<F> {
        #[pin]
        future: F,
        // None when the future is ready. It stands behind the future, so that it ends after what the
        // future holds is dropped.
        span: Option<Span>,
    }
}

pin_project! {
    /// A future in a context: see [`TraceFuture::in_context`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless they are polled"]
    pub struct InContext<F> {
        #[pin]
        future: F,
        context: SpanContext,
    }
}

impl<F> InSpan<F> {
    /// The span, until the future is ready.
    pub fn span(&self) -> Option<&Span> {
        self.span.as_ref()
    }
}

impl<F: Future> Future for InSpan<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let current = this.span.as_ref().map(Span::enter);
        let output = ready!(this.future.poll(context));
        drop(current);
        *this.span = None;
        Poll::Ready(output)
    }
}

impl<F: Future> Future for InContext<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _current = this.context.attach();
        this.future.poll(context)
    }
}
