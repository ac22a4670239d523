import type { ApiClient } from '../../lib/api-client.ts';
import type { Lease } from '../../lib/protocol/job.ts';
import type { BoundedLog } from '../bounded-log.ts';

const CHUNK_BYTES = 512 * 1024;

/**
 * Sends what was kept of the payload's output, stream by stream, by offset: a chunk that comes twice is the same chunk.
 *
 * @throws the wire code of a refusal, or E_UNREACHABLE, E_TIMEOUT; whoever calls decides whether that matters.
 */
export async function sendLogs(options: {
  api: () => ApiClient;
  lease: Pick<Lease, 'attemptId' | 'incarnation'>;
  streams: Readonly<Record<'stdout' | 'stderr', BoundedLog>>;
  signal: AbortSignal;
}): Promise<void> {
  const { attemptId, incarnation } = options.lease;
  const sendOne = async (stream: 'stdout' | 'stderr') => {
    const log = options.streams[stream];
    let offset = 0;
    let pending: Buffer | undefined;
    const send = async (chunk: Buffer, last: boolean) => {
      await options.api().call('appendLog', {
        params: { attemptId },
        body: { incarnation, stream, offset, data: chunk.toString('base64'), last },
        signal: options.signal,
        patienceSeconds: 2,
      });
      offset += chunk.length;
    };
    for await (const chunk of log.kept(CHUNK_BYTES)) {
      if (pending) await send(pending, false);
      pending = chunk;
    }
    if (pending) await send(pending, true);
  };
  await Promise.all([sendOne('stdout'), sendOne('stderr')]);
}
