import type { ApiClient } from '../lib/api-client.ts';
import { newId } from '../lib/ids.ts';
import type { ReplyBody } from '../lib/protocol.ts';

export type ServerSubmission = ReplyBody<'listSubmissions'>['submissions'][number];
export type Granted = ReplyBody<'createSubmissions'>;

/** The server as one autopilot sees it: its queue, its factory. Each call throws what {@link ApiClient.call} throws. */
export interface ServerPort {
  demand(signal: AbortSignal): Promise<ReplyBody<'demand'>>;
  /** The same key gets the same submissions again. */
  createSubmissions(
    request: { count: number; validSeconds: number; idempotencyKey: string },
    signal: AbortSignal,
  ): Promise<Granted>;
  /** Pages of this factory's submissions, until the caller has seen enough. */
  listSubmissions(signal: AbortSignal): AsyncIterable<ServerSubmission[]>;
  withdraw(submissionIds: string[], signal: AbortSignal): Promise<string[]>;
}

const PAGE = 1000;
/** A list longer than this is not read further; 200 000 submissions. */
const MAX_PAGES = 200;

export function serverPort(
  client: ApiClient,
  owner: { queue: string; factory: string },
  callSeconds: number,
): ServerPort {
  const params = { queue: owner.queue };
  const limits = { timeoutSeconds: callSeconds, patienceSeconds: Math.min(5, callSeconds) };
  return {
    demand: signal => client.call('demand', { params, signal, ...limits }),
    createSubmissions: ({ count, validSeconds, idempotencyKey }, signal) =>
      client.call('createSubmissions', {
        params,
        body: { factory: owner.factory, count, validSeconds },
        idempotencyKey,
        signal,
        ...limits,
      }),
    async *listSubmissions(signal) {
      let cursor: string | null = null;
      for (let page = 0; page < MAX_PAGES; page += 1) {
        const reply: ReplyBody<'listSubmissions'> = await client.call('listSubmissions', {
          params,
          query: { factory: owner.factory, limit: PAGE, ...(cursor !== null && { cursor }) },
          signal,
          ...limits,
        });
        yield reply.submissions;
        if (reply.nextCursor === null) return;
        cursor = reply.nextCursor;
      }
    },
    async withdraw(submissionIds, signal) {
      const reply = await client.call('withdrawSubmissions', {
        params,
        body: { factory: owner.factory, submissionIds },
        idempotencyKey: newId(),
        signal,
        ...limits,
      });
      return reply.withdrawn;
    },
  };
}
