import { once } from 'node:events';
import { open } from 'node:fs/promises';
import { pino } from 'pino';
import { fromSystemError } from '../../lib/errors.ts';
import type { Logger } from '../../lib/log.ts';
import { printable } from '../http/observe-answer.ts';
import type { Answered } from '../http/observe-answer.ts';

const MAX_WAITING_BYTES = 16 << 20;
/** Addresses of nodes are for the group at most. */
const MODE = 0o640;

export interface AccessLog {
  write(answered: Answered): void;
  /** Goes on in a new file under the same name, after a rotation. */
  reopen(): void;
  close(): Promise<void>;
}

/**
 * One JSON line for each answer: time, remote, method, path, status, bytes, ms, agent, range; `cut: true` where the
 * connection ended first. What a client sent is bounded and escaped.
 *
 * @param file appended to; `-` for the program's own log.
 * @throws E_PERMISSION, E_FILE_MISSING naming the file.
 */
export async function openAccessLog(file: string, log: Logger): Promise<AccessLog> {
  if (file === '-') {
    return {
      write: answered => log.info(fields(answered), 'answered'),
      reopen: () => undefined,
      close: async () => undefined,
    };
  }
  try {
    await (await open(file, 'a', MODE)).close();
  } catch (error) {
    throw fromSystemError(error, file);
  }
  const out = pino.destination({ dest: file, mode: MODE, sync: false, maxLength: MAX_WAITING_BYTES });
  await once(out, 'ready');
  let failing = false;
  const failed = (error?: Error) => {
    if (!failing) log.error({ err: error, file }, 'the access log cannot be written: lines are lost');
    failing = true;
  };
  out.on('error', failed);
  out.on('drop', () => failed());
  out.on('write', () => {
    if (failing) log.info({ file }, 'the access log is written again');
    failing = false;
  });
  return {
    write: answered =>
      void out.write(`${JSON.stringify({ time: new Date().toISOString(), ...fields(answered) })}\n`),
    reopen: () => out.reopen(),
    async close() {
      out.end();
      await once(out, 'close');
    },
  };
}

const fields = (answered: Answered) => ({
  remote: answered.remote,
  method: printable(answered.method, 16),
  path: printable(answered.target, 512),
  status: answered.status,
  bytes: answered.bytes,
  ms: Math.round(answered.milliseconds * 10) / 10,
  ...(answered.userAgent !== undefined && { agent: printable(answered.userAgent, 200) }),
  ...(answered.range !== undefined && { range: printable(answered.range, 64) }),
  ...(!answered.complete && { cut: true }),
});
