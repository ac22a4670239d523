import type { PlanStep } from './step.ts';

/** Holds the server's cap and this autopilot's own; every pilot counts until it is known to have ended. */
export const capStep: PlanStep = (wanted, { demand, own }, policy) => {
  const atServer = demand.pilotsIdle + demand.pilotsBusy + demand.submissionsOpen;
  const serverRoom = demand.cap - Math.max(atServer, own.notEnded);
  const ownRoom = policy.maxPilots - own.notEnded;
  const room = Math.max(0, Math.min(serverRoom, ownRoom));
  const limits = `server cap ${demand.cap} with ${atServer} pilot(s) there, own cap ${policy.maxPilots} with ${own.notEnded} not ended`;
  return { step: 'cap', in: wanted, out: Math.min(wanted, room), why: `room for ${room}: ${limits}` };
};
