// Binary messages: a header of 28 bytes and one encoded picture (docs/protocol.md).

const HEADER_BYTES = 28;
const KIND = 1;
const MIME = { 1: "image/jpeg", 2: "image/webp", 3: "video/h264" };

export const STILL = 1;
export const REPLAY = 2;
export const LAST = 4;
export const KEY = 8;

/** {type, flags, generation, chunk, frame, input, time, width, height, bytes} of an ArrayBuffer, or null. */
export function parseFrame(buffer) {
  if (buffer.byteLength <= HEADER_BYTES) return null;
  const view = new DataView(buffer);
  const type = MIME[view.getUint8(1)];
  if (view.getUint8(0) !== KIND || !type) return null;
  const u32 = (offset) => view.getUint32(offset, true);
  return {
    type,
    flags: view.getUint16(2, true),
    generation: u32(4),
    chunk: u32(8),
    frame: u32(12),
    input: u32(16),
    time: u32(20),
    width: view.getUint16(24, true),
    height: view.getUint16(26, true),
    bytes: new Uint8Array(buffer, HEADER_BYTES),
  };
}
