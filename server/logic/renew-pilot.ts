import type { ParsedBody } from '../../lib/protocol.ts';
import type { Floors } from '../../lib/protocol/release.ts';
import type { PilotCaller } from '../policy/caller.ts';
import { certifyKey } from './certify-key.ts';
import type { ServerContext } from './context.ts';
import { requirePilotPlace } from './fencing.ts';
import { once } from './once.ts';

/** A fresh certificate for the same pilot and a new key. @throws E_FENCED, E_BAD_REQUEST. */
export async function renewPilot(
  context: ServerContext,
  caller: PilotCaller,
  key: string,
  body: ParsedBody<'renewPilot'>,
): Promise<{ certificateChain: string; validSeconds: number; floors: Floors | null }> {
  const { keySha256 } = await context.issuer.read(body.csr);
  const validSeconds = context.settings.pilotCertificateSeconds;
  const request = { caller: caller.name, route: 'renewPilot' as const, key, request: { keySha256 } };
  return once(context, request, async (trx, moment) => {
    await requirePilotPlace(context, trx, caller, moment);
    const holder = {
      kind: 'pilot' as const,
      pilotId: caller.pilotId,
      attemptId: null,
      commonName: `pilot ${caller.pilotId}`,
    };
    const parts = { csr: body.csr, keySha256, validSeconds };
    const certified = await certifyKey(context, trx, holder, parts, moment);
    return { ...certified, floors: context.releases.current() };
  });
}
