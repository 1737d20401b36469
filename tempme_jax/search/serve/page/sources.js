// Where a moment is played from: the file itself, or a preview of it for what the browser cannot play.

const LEAD = 15; // seconds; a preview begins with the moment unless the place worth playing is later
const unplayable = new Set();
let longest = 30; // seconds of a preview

export const setLongest = seconds => (longest = seconds || longest);
export const needsPreview = moment => moment.needs_preview || unplayable.has(moment.file_id);
export const notePreview = moment => unplayable.add(moment.file_id);
export const makeMediaAddress = ({ file_id }, at, end) =>
  `/media/${encodeURIComponent(file_id)}#t=${at.toFixed(3)}${end ? `,${end.toFixed(3)}` : ""}`;

// Where a moment ends when it is played: what fits best is to be seen for some seconds.
export const findEnd = ({ best, end, seconds }) => (best == null ? end : Math.min(seconds, Math.max(end, best + 3)));

// The span and the address of a preview that holds the moment, or that begins `at` another time.
export function choosePreview(moment, at = null) {
  const start = at ?? (moment.at - moment.start > LEAD ? moment.at : moment.start);
  const last = at === null ? findEnd(moment) : moment.seconds;
  const end = Math.max(start + 0.1, Math.min(last, start + longest));
  const parameters = new URLSearchParams({ start: start.toFixed(3), end: end.toFixed(3) });
  return { start, end, address: `/preview/${encodeURIComponent(moment.file_id)}?${parameters}` };
}

// Whether a video that has its first data is none that the browser can show, such as HEVC, of which it plays the sound.
export const isBlind = video => video.videoWidth === 0;

// Why an address of this service cannot be played, as { status, sentence }; a status of 0 if it does not answer.
export async function explainFailure(address) {
  try {
    const answer = await fetch(address.split("#")[0], { headers: { Range: "bytes=0-0" } });
    const content = answer.ok ? {} : await answer.json().catch(() => ({}));
    return { status: answer.status, sentence: content.error ?? "" };
  } catch {
    return { status: 0, sentence: "the service does not answer; is it still running?" };
  }
}
