/** The steps of a handover, for tests that end or stop a process at one of them. In a program, nothing of it runs. */
import { channel } from 'node:diagnostics_channel'

const steps = channel('ebb:handover')

/** Tells a test that a step is done. */
export function step(name: string): void {
  if (steps.hasSubscribers) steps.publish(name)
}
