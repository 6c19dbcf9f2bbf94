//! Open descriptors sent to another process over a Unix socket (SCM_RIGHTS, unix(7)).
#![expect(unsafe_code, reason = "control messages have no safe binding in std")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

/// Most descriptors of one message: the kernel's own bound (SCM_MAX_FD).
pub const DESCRIPTORS_MAX: usize = 253;

/// Room for a control message with `count` descriptors, in the alignment that its header needs.
fn control_room(count: usize) -> Vec<u64> {
    // SAFETY: plain arithmetic.
    let bytes = unsafe { libc::CMSG_SPACE(data_bytes(count)) } as usize;
    vec![0; bytes.div_ceil(size_of::<u64>())]
}

fn data_bytes(count: usize) -> libc::c_uint {
    (count * size_of::<RawFd>()) as libc::c_uint
}

/// Sends `text` and with it `descriptors`, at least one.
///
/// # Errors
/// Of sendmsg(2); too many descriptors.
pub fn send(socket: &UnixStream, text: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    if !(1..=DESCRIPTORS_MAX).contains(&descriptors.len()) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "1 to 253 descriptors can be sent"));
    }
    let raw: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let mut control = control_room(raw.len());
    let mut part = libc::iovec { iov_base: text.as_ptr().cast_mut().cast(), iov_len: text.len() };
    // SAFETY: a msghdr of zeros is a valid, empty one.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control[..]) as _;
    // SAFETY: `control` has room for one header and `raw`, so the first header exists and its data fits; sendmsg reads
    // `text` and `control`, which outlive the call.
    let sent = unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(data_bytes(raw.len())) as _;
        std::ptr::copy_nonoverlapping(raw.as_ptr().cast(), libc::CMSG_DATA(header), size_of_val(&raw[..]));
        libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL)
    };
    match usize::try_from(sent) {
        Ok(count) if count == text.len() => Ok(()),
        Ok(_) => Err(io::ErrorKind::WriteZero.into()),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// Receives some text, its length, and the descriptors that came with it.
///
/// # Errors
/// Of recvmsg(2); descriptors that did not all arrive.
pub fn receive(socket: &UnixStream, text: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut control = control_room(DESCRIPTORS_MAX);
    let mut part = libc::iovec { iov_base: text.as_mut_ptr().cast(), iov_len: text.len() };
    // SAFETY: a msghdr of zeros is a valid, empty one.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control[..]) as _;
    // SAFETY: the kernel writes into `text` and `control` only, within the lengths given, and both outlive the call.
    let count = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) };
    let Ok(count) = usize::try_from(count) else { return Err(io::Error::last_os_error()) };
    let mut descriptors = Vec::new();
    // SAFETY: the headers are those that the kernel has written into `control`; the data of one of this kind is a list
    // of descriptors that are open, ours, and owned by nobody yet.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                let bytes = (*header).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                let data: *const RawFd = libc::CMSG_DATA(header).cast();
                for index in 0..bytes / size_of::<RawFd>() {
                    descriptors.push(OwnedFd::from_raw_fd(data.add(index).read_unaligned()));
                }
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
    }
    if message.msg_flags & libc::MSG_CTRUNC != 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not all descriptors have arrived"));
    }
    Ok((count, descriptors))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn descriptors_arrive_open_and_in_order() {
        let (here, there) = UnixStream::pair().unwrap();
        let pairs: Vec<_> = (0..5).map(|_| UnixStream::pair().unwrap()).collect();
        let ends: Vec<_> = pairs.iter().map(|(end, _)| end.as_fd()).collect();
        send(&here, b"five", &ends).unwrap();
        let mut text = [0; 16];
        let (count, received) = receive(&there, &mut text).unwrap();
        assert_eq!((&text[..count], received.len()), (b"five".as_slice(), 5));
        for (number, (descriptor, (_, other))) in received.into_iter().zip(&pairs).enumerate() {
            UnixStream::from(descriptor).write_all(&[number as u8]).unwrap();
            let mut byte = [0];
            (&*other).read_exact(&mut byte).unwrap();
            assert_eq!(byte, [number as u8]);
        }
    }

    #[test]
    fn text_alone_and_an_end_have_no_descriptors() {
        let (mut here, there) = UnixStream::pair().unwrap();
        here.write_all(b"text").unwrap();
        let mut text = [0; 16];
        assert_eq!(receive(&there, &mut text).unwrap().0, 4);
        drop(here);
        let (count, received) = receive(&there, &mut text).unwrap();
        assert!(count == 0 && received.is_empty());
    }

    #[test]
    fn none_and_too_many_are_refused() {
        let (here, _there) = UnixStream::pair().unwrap();
        assert!(send(&here, b"x", &[]).is_err());
        assert!(send(&here, b"x", &[here.as_fd(); DESCRIPTORS_MAX + 1]).is_err());
    }
}
