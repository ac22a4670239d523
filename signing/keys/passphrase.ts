import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { ReadStream, WriteStream } from 'node:tty';
import { libError } from '../../lib/errors.ts';
import { readTextBounded } from '../../lib/files.ts';
import { signingError } from '../errors.ts';

export interface PassphraseRequest {
  keyName: string;
  /** The key file. */
  where: string;
  /** True when a key is being made: a prompt asks twice. */
  isNew: boolean;
}

/** Gives the passphrase of a key. @throws E_PASSPHRASE_MISSING, E_PASSPHRASE_UNREADABLE. */
export type PassphraseSource = (request: PassphraseRequest) => Promise<string>;

/**
 * Passphrases from files or the terminal, never from arguments or the environment's values.
 *
 * @param options.directory one file per key name; a key without one falls back to `file`.
 * @param options.file first line is the passphrase; must not be readable by others.
 * @param options.terminal asked when neither file has it; left out where there is no terminal.
 */
export function passphraseSource(options: {
  directory?: string | undefined;
  file?: string | undefined;
  terminal?: { input: ReadStream; output: WriteStream } | undefined;
}): PassphraseSource {
  return async request => {
    if (options.directory !== undefined) {
      const own = await readPassphraseFile(join(options.directory, request.keyName), true);
      if (own !== null) return own;
    }
    if (options.file !== undefined) return (await readPassphraseFile(options.file, false))!;
    if (options.terminal) return promptPassphrase(request, options.terminal);
    const own = options.directory && join(options.directory, request.keyName);
    throw signingError({
      code: 'E_PASSPHRASE_MISSING',
      message: `There is no passphrase for the key "${request.keyName}".`,
      where: request.where,
      expected: own
        ? `the file ${own}`
        : '--passphrase-dir, --passphrase-file, PILOTAGE_PASSPHRASE_FILE, or a terminal to ask at',
      fix: own
        ? 'Write the passphrase into that file, of mode 0600.'
        : 'Put the passphrase in a file of mode 0600 and name it with --passphrase-file.',
    });
  };
}

async function readPassphraseFile(path: string, optional: boolean): Promise<string | null> {
  try {
    const info = await stat(path);
    if (info.isFile() && (info.mode & 0o077) !== 0) {
      throw signingError({
        code: 'E_PASSPHRASE_UNREADABLE',
        message: 'Other users can read this passphrase file.',
        where: path,
        expected: 'mode 0600',
        found: `mode ${(info.mode & 0o777).toString(8).padStart(4, '0')}`,
        fix: `Run: chmod 600 ${path}`,
      });
    }
    const [line] = (await readTextBounded(path, 4096)).split(/\r?\n/, 1);
    if (line) return line;
  } catch (error) {
    const code = (error as { code?: string }).code;
    if (optional && code === 'ENOENT') return null;
    if (code === 'E_PASSPHRASE_UNREADABLE') throw error;
    const missing = code === 'ENOENT' || code === 'E_FILE_MISSING';
    throw signingError({
      code: 'E_PASSPHRASE_UNREADABLE',
      message: missing ? 'There is no such passphrase file.' : 'The passphrase file cannot be read.',
      where: path,
      fix: 'Check the path, owner and mode of the file.',
      cause: error,
    });
  }
  throw signingError({
    code: 'E_PASSPHRASE_MISSING',
    message: 'The passphrase file is empty.',
    where: path,
    expected: 'the passphrase in the first line',
    fix: 'Write the passphrase into the file.',
  });
}

async function promptPassphrase(
  request: PassphraseRequest,
  terminal: { input: ReadStream; output: WriteStream },
): Promise<string> {
  const first = await askHidden(
    `Passphrase of ${request.isNew ? 'the new key ' : 'key '}${request.keyName}: `,
    terminal,
  );
  if (!request.isNew) return first;
  if ((await askHidden(`Again, to be sure: `, terminal)) !== first) {
    throw signingError({
      code: 'E_PASSPHRASE_WRONG',
      message: 'The two passphrases differ.',
      where: request.where,
      fix: 'Run the command again.',
    });
  }
  return first;
}

/** One line from the terminal without echo. @throws E_ABORTED on Ctrl-C or Ctrl-D. */
function askHidden(
  question: string,
  { input, output }: { input: ReadStream; output: WriteStream },
): Promise<string> {
  return new Promise((resolve, reject) => {
    input.setRawMode(true); // before the question: what is typed quickly must not be echoed either
    output.write(question);
    input.setEncoding('utf8');
    let typed = '';
    const finish = (settle: () => void) => {
      input.off('data', onData);
      input.off('end', onEnd);
      input.setRawMode(false);
      input.pause();
      output.write('\n');
      settle();
    };
    const aborted = () =>
      libError({ code: 'E_ABORTED', message: 'No passphrase was given.', fix: 'Run it again.' });
    const onEnd = () => finish(() => reject(aborted()));
    const onData = (chunk: Buffer | string) => {
      for (const character of String(chunk)) {
        if (character === '\r' || character === '\n') return finish(() => resolve(typed));
        if (character === '\u0003' || character === '\u0004') return finish(() => reject(aborted()));
        if (character === '\u007f' || character === '\b') typed = Array.from(typed).slice(0, -1).join('');
        else if (character >= ' ' && typed.length < 1024) typed += character;
      }
    };
    input.on('data', onData);
    input.on('end', onEnd);
    input.resume();
  });
}
