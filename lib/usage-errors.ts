import type { Command } from 'commander';
import { exitCodes, reportError } from './cli.ts';
import { libError } from './errors.ts';

/** Whether a call asks for JSON; what stands behind `--` belongs to somebody else's command. */
export function asksForJson(words: readonly string[]): boolean {
  const end = words.indexOf('--');
  return (end < 0 ? words : words.slice(0, end)).includes('--json');
}

/**
 * Lets a wrong call look like every other error: `E_USAGE`, exit code 2, and with `json` one JSON object on stderr. To be
 * called before subcommands are added: they inherit it.
 */
export function usageErrors(program: Command, json: boolean): void {
  const fix = 'run with --help to see how it is used';
  if (json) {
    const say = (message: string) => reportError(libError({ code: 'E_USAGE', message, fix }), true);
    program
      .configureOutput({
        writeErr: () => {}, // help, where a subcommand is missing
        outputError: text =>
          say(
            text
              .replace(/^error: /, '')
              .trim()
              .replaceAll('\n', ' '),
          ),
      })
      .exitOverride(({ code, exitCode }) => {
        if (code === 'commander.help') say('A subcommand is missing.');
        process.exit(exitCode === 0 ? exitCodes.ok : exitCodes.usage);
      });
    return;
  }
  program
    .showHelpAfterError(`(${fix})`)
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'E_USAGE: ')) })
    .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? exitCodes.ok : exitCodes.usage));
}
