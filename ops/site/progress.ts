/** Tells a person what goes on: one line a step on a terminal or in a log; nothing where output is for a machine. */
export interface Progress {
  step(text: string): void;
  /** A line that replaces itself on a terminal; elsewhere it is printed only when `text` is new and worth a line. */
  live(text: string): void;
  done(): void;
}

export function createProgress(options: { quiet: boolean; stream?: NodeJS.WriteStream }): Progress {
  const stream = options.stream ?? process.stderr;
  if (options.quiet) return { step: () => {}, live: () => {}, done: () => {} };
  const started = performance.now();
  const terminal = stream.isTTY;
  let open = false;
  const clear = () => {
    if (open) stream.write('\r\u001b[2K');
    open = false;
  };
  const stamp = () => `${((performance.now() - started) / 1000).toFixed(1).padStart(6)} s  `;
  return {
    step(text) {
      clear();
      stream.write(`${stamp()}${text}\n`);
    },
    live(text) {
      if (!terminal) return;
      clear();
      stream.write(`${stamp()}${text}`.slice(0, (stream.columns || 80) - 1));
      open = true;
    },
    done: clear,
  };
}
