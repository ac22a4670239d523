import type { Floors } from '../../lib/protocol.ts';

/** Where floors of signed metadata come from; `current` is null until some are known. */
export interface FloorSource {
  current(): Floors | null;
  close(): Promise<void>;
}

/** For servers without a code store. */
export const noFloors: FloorSource = { current: () => null, close: async () => {} };
