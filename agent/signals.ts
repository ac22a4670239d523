/** What SIGTERM and SIGINT mean to a pilot: the first one, hand back and leave; the second one, at once. */
export function listenToSignals(): { stopping: AbortSignal; hurry: AbortSignal } {
  const stopping = new AbortController();
  const hurry = new AbortController();
  for (const name of ['SIGTERM', 'SIGINT'] as const) {
    process.on(name, () => {
      if (stopping.signal.aborted) hurry.abort(new DOMException(`a second ${name}`, 'AbortError'));
      else stopping.abort(new DOMException(name, 'AbortError'));
    });
  }
  // The wrapper or a terminal that goes away must not take a running payload with it.
  process.on('SIGHUP', () => undefined);
  process.on('SIGPIPE', () => undefined);
  return { stopping: stopping.signal, hurry: hurry.signal };
}
