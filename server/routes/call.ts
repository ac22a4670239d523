import type * as z from 'zod';
import type { ParsedBody, PathParams, ReplyBody, RouteName, Routes } from '../../lib/protocol.ts';
import type { ServerContext } from '../logic/context.ts';
import type { Caller, PilotCaller, UserCaller } from '../policy/caller.ts';

/** One request, parsed and with its caller known and allowed to do the route's action. */
export interface Call<N extends RouteName> {
  context: ServerContext;
  caller: Caller;
  params: PathParams<N>;
  query: z.output<Routes[N]['query']>;
  body: ParsedBody<N>;
  /** Idempotency key; empty on reads. */
  key: string;
  /** Aborts when the caller is gone or the server drains. */
  signal: AbortSignal;
}

/** What a handler answers; time and instance are added to every reply. */
export type Answer<N extends RouteName> = Omit<ReplyBody<N>, 'serverTimeMs' | 'instance'>;
export type Handler<N extends RouteName> = (call: Call<N>) => Promise<Answer<N>>;

/** The policy has judged already that only pilots get here. */
export function asPilot(caller: Caller): PilotCaller {
  if (caller.kind !== 'pilot') throw new Error(`${caller.kind} got past the policy as a pilot`);
  return caller;
}

/** The policy has judged already that only users get here. */
export function asUser(caller: Caller): UserCaller {
  if (caller.kind !== 'user') throw new Error(`${caller.kind} got past the policy as a user`);
  return caller;
}
