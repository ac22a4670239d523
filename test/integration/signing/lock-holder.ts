// Takes the lock of the place it is given, says so, and keeps it until it is killed.
import { openStorage } from '../../../signing/release/storage/open-storage.ts';

const storage = await openStorage(process.argv[2]!);
const lock = await storage.tryLock();
process.stdout.write(lock ? 'held\n' : 'refused\n');
if (lock) setInterval(() => undefined, 60_000);
else await storage.close();
