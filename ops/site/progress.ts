import { Listr, ListrLogger, PRESET_TIMER, ProcessOutput } from 'listr2';

/** Tells a person what goes on, on standard error; says nothing where output is for a machine. */
export interface Progress {
  /**
   * Runs one step of a longer piece of work under a title. On a terminal it shows that it is alive and, below the title,
   * what `tell` said last; elsewhere it is a line at its start and one at its end.
   */
  run<T>(title: string, work: (tell: (text: string) => void) => Promise<T>): Promise<T>;
  /** One line that stays. */
  note(text: string): void;
}

/** For library use without anybody who looks on. */
export const silentProgress: Progress = { run: (_, work) => work(() => undefined), note: () => undefined };

export function createProgress(options: { quiet: boolean }): Progress {
  const terminal = process.stderr.isTTY;
  const logger = () => new ListrLogger({ processOutput: new ProcessOutput(process.stderr, process.stderr) });
  return {
    async run(title, work) {
      const results: Awaited<ReturnType<typeof work>>[] = [];
      const list = new Listr(
        [
          {
            title,
            task: async (_, task) => {
              results.push(
                await work(text => {
                  if (terminal) task.output = text;
                }),
              );
            },
          },
        ],
        {
          registerSignalListeners: false,
          silentRendererCondition: options.quiet,
          fallbackRendererCondition: !terminal,
          rendererOptions: { logger: logger(), timer: PRESET_TIMER },
          fallbackRenderer: 'simple',
          fallbackRendererOptions: { logger: logger(), timer: PRESET_TIMER },
        },
      );
      await list.run();
      return results[0]!;
    },
    note(text) {
      if (!options.quiet) process.stderr.write(`${text}\n`);
    },
  };
}
